/**
 * Exact values, if the task knows them. No critic can be better, so it is the upper bound of a
 * comparison. Stage 1's oracle is another thing: it writes traces.
 */
import { z } from 'zod';
import { defineCritic, UserError } from '../../src/plugin-api.ts';

export default defineCritic({
  name: 'oracle',
  needs: 'states',
  continues: true,
  exact: true,
  options: z.strictObject({}),
  create: (_, { actor }) => {
    const exactValues = actor?.exactValues;
    if (!exactValues)
      throw new UserError(
        'the critic "oracle" needs a task that knows exact values; there are none with rewards, ' +
          'top_k, top_p or stop_strings',
      );
    return {
      sharesFirstState: true,
      async value(states) {
        const values = await exactValues(states);
        return values.map((value) => ({
          value,
          ...{ rationale: '', parsed: 'ok', completions: [] },
        }));
      },
    };
  },
});
