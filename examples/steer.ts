// Steers a run: it lowers the number of critic completions when the critic's values explain the
// rewards well, and stops the run when the actor is good enough.
//   node --import tsx examples/steer.ts
import { type ConfigInput, loadConfigFile, startRun } from '../src/index.ts';

export interface Goals {
  /** Explained variance above which one completion for each state is enough. */
  readonly explained: number;
  /** Held-out success at which to stop. */
  readonly success: number;
}

/** @returns one line for each action */
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
      const explained = event.metrics['critic/explained_variance']; // absent if all rewards are equal
      if (explained === undefined || explained < goals.explained) continue;
      saving = true;
      say(
        `iteration ${event.iteration}: the critic explains ${(100 * explained).toFixed(0)}% ` +
          'of the rewards',
      );
      // Takes effect before the next iteration. Not awaited: the run reports it as an event of this
      // loop.
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
  // With the baseline `leave-one-out` it could not go down to one.
  const critic = { ...(config.critic as { use: string }), completions_per_state: 2 };
  await steer({ ...config, critic, folder: 'runs/steered' }, { explained: 0.5, success: 0.8 });
}
