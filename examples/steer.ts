// Steers a run while it goes on: fewer completions of the critic once its values explain the
// rewards well, and an end as soon as the actor is good enough.
//   node --import tsx examples/steer.ts
import { type ConfigInput, loadConfigFile, startRun } from '../src/index.ts';

export interface Goals {
  /** Above this explained variance one completion a state is enough. */
  readonly explained: number;
  /** Held-out success at which to stop. */
  readonly success: number;
}

/** @returns what it did, in words */
export async function steer(input: ConfigInput, goals: Goals): Promise<string[]> {
  const did: string[] = [];
  const say = (text: string) => {
    did.push(text);
    console.log(text);
  };
  const run = startRun(input);
  let saving = false;
  for await (const event of run) {
    if (event.type === 'set') say(`iteration ${event.iteration}: ${JSON.stringify(event.values)}`);
    if (event.type === 'iteration' && event.stage === 'joint' && !saving) {
      const explained = event.metrics['critic/explained_variance']; // absent where all rewards are alike
      if (explained === undefined || explained < goals.explained) continue;
      saving = true;
      say(
        `iteration ${event.iteration}: the critic explains ${(100 * explained).toFixed(0)}% ` +
          'of the rewards',
      );
      // Takes effect before the next iteration; not awaited, for the run tells us of it in its own
      // turn.
      void run.set({ 'critic.completions_per_state': 1, 'critic.temperature': 0.5 });
    }
    if (
      event.type === 'evaluation' &&
      (event.metrics['evaluation/success'] ?? 0) >= goals.success
    ) {
      say(
        `iteration ${event.iteration}: held-out success ` +
          `${event.metrics['evaluation/success']!.toFixed(2)}, stopping`,
      );
      void run.stop();
    }
  }
  say(await run.finished);
  return did;
}

if (process.argv[1] === import.meta.filename) {
  const { config } = loadConfigFile('examples/miniature.yaml');
  // With one completion there is nothing to leave out: the baseline is the batch's mean throughout.
  const critic = { ...(config.critic as { use: string }), baseline: 'batch-mean' };
  await steer({ ...config, critic, folder: 'runs/steered' }, { explained: 0.5, success: 0.8 });
}
