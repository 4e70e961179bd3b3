// Starts a run, watches it, and stops it when the actor solves half of the held-out problems.
//   node --import tsx examples/watch.ts
import { loadConfigFile, startRun } from '../src/index.ts';

const { config } = loadConfigFile('examples/miniature.yaml');
const run = startRun({ ...config, folder: 'runs/watched' });
for await (const event of run) {
  const success = event.type === 'evaluation' ? event.metrics['evaluation/success'] : undefined;
  if (success === undefined) continue;
  console.log(`held-out success ${(100 * success).toFixed(0)}%`);
  if (success > 0.5) void run.stop(); // ends after this iteration, with a checkpoint
}
