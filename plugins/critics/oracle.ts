/**
 * Exact values, where the task knows them: no critic can be better. It is the upper bound of a
 * comparison, and the oracle of its name; stage 1's oracle writes traces instead.
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
      throw new UserError('the critic "oracle" needs a task that knows exact values');
    return {
      sharesFirstState: true,
      async value(states) {
        const exact = await exactValues();
        return states.map((state) => ({
          value: Math.min(1, Math.max(0, exact(state))),
          ...{ rationale: '', parsed: 'ok', completions: [] },
        }));
      },
    };
  },
});
