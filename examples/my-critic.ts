// Your own critic is one file, which a config names: `critic: {use: ./my-critic.ts, step: 0.1}`.
// This one keeps a running mean of the rewards seen at each depth of a response. It has no language
// model and reads no problem.
import { z } from 'zod';
import { defineCritic } from '../src/index.ts';

export default defineCritic({
  name: 'depth-mean',
  // A value depends on its state alone, so the run may request it while the actor still samples.
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
      // Makes one update from a batch of outcomes; the run logs the returned numbers as critic/*.
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
