/** A critic for tests: a state is worth the mean reward of the actor's continuations. */
import { z } from 'zod';
import { defineCritic } from '../../src/plugin-api.ts';

export default defineCritic({
  name: 'continuing',
  needs: 'states',
  continues: true,
  options: z.strictObject({ count: z.int().positive().default(2) }),
  create: ({ count }, { actor }) => ({
    sharesFirstState: true,
    async value(states, context) {
      const continued = await actor!.sample(states, count, context);
      const tokens = continued.flat().reduce((sum, c) => sum + c.completionIds.length, 0);
      context.report?.({ continuation_tokens: tokens });
      return continued.map((own) => ({
        value: own.reduce((sum, { reward }) => sum + (reward ?? 0), 0) / count,
        ...{ rationale: own.map(({ text }) => text).join('|'), parsed: 'ok', completions: [] },
      }));
    },
  }),
});
