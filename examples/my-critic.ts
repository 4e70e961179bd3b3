// A critic of your own: one file, named in a config as `critic: {use: ./my-critic.ts, step: 0.1}`.
// This one keeps a running mean of the rewards seen at each depth of a response: no language model,
// no problem read.
import { z } from 'zod';
import { defineCritic } from '../src/index.ts';

export default defineCritic({
  name: 'depth-mean',
  // A value depends on its state alone, so it may be asked for while the actor still samples.
  needs: 'states',
  learns: true,
  options: z.strictObject({ step: z.number().positive().max(1).default(0.1) }),
  create({ step }) {
    const means = new Map<number, number>();
    return {
      sharesFirstState: true,
      value: async (states) =>
        states.map((state) => ({
          value: means.get(state.index) ?? state.actor.successRate ?? 0.5,
          rationale: '',
          parsed: 'ok' as const,
          completions: [],
        })),
      // One update from a batch of outcomes; what it returns is logged as critic/*.
      async learn(outcomes) {
        for (const { state, rewards } of outcomes) {
          for (const reward of rewards) {
            const mean = means.get(state.index) ?? reward;
            means.set(state.index, mean + step * (reward - mean));
          }
        }
        return { depths: means.size };
      },
    };
  },
});
