// Watches a run from TypeScript, and stops it when the actor is good enough.
//   node --import tsx examples/stop-at-success.ts 0.5
import { type ConfigInput, checkConfig, loadConfigFile, startRun } from '../src/index.ts';

export async function stopAtSuccess(
  target: number,
  input: ConfigInput,
): Promise<{ reason: string; success: number }> {
  const run = startRun(input);
  let success = 0;
  for await (const event of run) {
    if (event.type === 'message') console.log(event.text);
    if (event.type !== 'iteration' || event.stage !== 'joint') continue;
    success = event.metrics['actor/success_rate']!;
    console.log(`iteration ${event.iteration}: smoothed success ${success.toFixed(3)}`);
    // The run ends after this iteration, with a checkpoint. Not awaited: this loop must read the
    // events of its end.
    if (success >= target) void run.stop();
  }
  return { reason: await run.finished, success };
}

if (process.argv[1] === import.meta.filename) {
  const { config } = loadConfigFile('examples/miniature.yaml');
  const result = await stopAtSuccess(
    Number(process.argv[2] ?? 0.5),
    checkConfig({ ...config, folder: 'runs/stop-at-success' }),
  );
  console.log(`${result.reason} at ${result.success.toFixed(3)}`);
}
