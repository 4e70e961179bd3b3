// Your own task is one file, which a config names: `task: {use: ./my-task.ts, largest: 6}`.
// It has problems and a reward function with values in [0, 1]; the rest has defaults.
import { z } from 'zod';
import { defineTask } from '../src/index.ts';

export default defineTask({
  name: 'last-register',
  // Checked before anything starts; a wrong value is one clear error.
  options: z.strictObject({ largest: z.int().min(1).max(6).default(6) }),
  create: ({ largest }) => ({
    name: 'last-register',
    // The same arguments must give the same problems: resumed runs and schedules depend on it.
    problems: (split, seed, from, count) =>
      Array.from({ length: count }, (_, i) => {
        const n = from + i + 7919 * seed + (split === 'heldout' ? 104729 : 0);
        const start = n % 7;
        const step = 1 + (Math.floor(n / 7) % largest);
        // Columns go to the reward function, never to the critic.
        return {
          id: `${split}-${from + i}`,
          prompt: `${start} | a +${step} | >`,
          columns: { answer: (start + step) % 7 },
        };
      }),
    // May be async. A number outside [0, 1] ends the run with an error that names the problem.
    reward: ({ text, problem }) => (text === `a ${problem.columns.answer} .` ? 1 : 0),
  }),
});
