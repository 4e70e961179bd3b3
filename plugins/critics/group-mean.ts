/**
 * No critic: the mean reward of the group is the value of every state. With lambda = 1 the
 * advantage is GRPO's r - mean (arXiv 2402.03300), or with
 * `leave_one_out` RLOO's r - mean of the others (arXiv 2402.14740).
 */
import { z } from 'zod';
import { defineCritic, groupBy, mean, UserError } from '../../src/plugin-api.ts';

export default defineCritic({
  name: 'group-mean',
  needs: 'outcomes',
  options: z.strictObject({
    /** Leave the trajectory's own reward out of its baseline. */
    leave_one_out: z.boolean().default(false),
  }),
  create: ({ leave_one_out }) => ({
    sharesFirstState: !leave_one_out,
    async value(states, { rewards }) {
      if (!rewards)
        throw new Error('the critic "group-mean" needs the rewards of the trajectories');
      const groups = groupBy(rewards.keys(), (i) => rewards[i]!.group);
      return states.map((state) => {
        const members = groups.get(state.group) ?? [];
        const counted = leave_one_out ? members.filter((i) => i !== state.trajectory) : members;
        if (counted.length === 0) {
          throw new UserError(
            `group ${state.group} has no ${leave_one_out ? 'other ' : ''}trajectory to take ` +
              `a mean of: sample at least ${leave_one_out ? 2 : 1} responses per problem`,
          );
        }
        const value = mean(counted.map((i) => rewards[i]!.reward));
        return { value, rationale: '', parsed: 'ok' as const, completions: [] };
      });
    },
  }),
});
