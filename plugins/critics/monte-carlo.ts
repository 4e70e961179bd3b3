/**
 * VinePPO's critic (arXiv 2410.01679): the value of a state is the mean reward of K continuations
 * by the actor. It has no model and learns nothing; it costs actor tokens.
 */
import { z } from 'zod';
import { defineCritic, mean, type Sequence } from '../../src/plugin-api.ts';

export default defineCritic({
  name: 'monte-carlo',
  needs: 'states',
  continues: true,
  options: z.strictObject({
    /** K: continuations of each state. */
    continuations: z.int().positive().max(10_000).default(9),
  }),
  create: ({ continuations }, { actor }) => ({
    sharesFirstState: true,
    async value(states, context) {
      const continued = await actor!.sample(states, continuations, context);
      let tokens = 0;
      const valuations = continued.map((own, i) => {
        for (const { completionIds } of own) tokens += completionIds.length;
        const rewards = own.flatMap(({ reward }) => reward ?? []);
        const known = rewards.length > 0;
        return {
          value: known ? mean(rewards) : (states[i]!.actor.successRate ?? 0.5),
          rationale: known ? `${rewards.length} continuations` : 'no continuation had a reward',
          parsed: known ? ('ok' as const) : ('malformed' as const),
          completions: [],
        };
      });
      const read = states.map(({ tokens: own }) => (own ? lengthOf(own) : 0));
      context.report?.({
        continuations: states.length * continuations,
        actor_tokens: tokens,
        actor_tokens_read: read.reduce((a, b) => a + b, 0),
      });
      return valuations;
    },
  }),
});

const lengthOf = ({ promptIds, completionIds }: Sequence) =>
  promptIds.length + completionIds.length;
