/** Problems without end and rewards that vary, for `bench/controller.ts`. */
import { z } from 'zod';
import { defineTask } from '../src/index.ts';

export default defineTask({
  name: 'bench',
  options: z.strictObject({}),
  create: () => ({
    name: 'bench',
    problems: (split, _seed, from, count) =>
      Array.from({ length: count }, (_, i) => ({
        id: `${split}-${from + i}`,
        prompt: `Problem ${from + i}: ${'a fairly long statement of a problem, in words. '.repeat(10)}`,
        columns: {},
      })),
    reward: ({ problem }) => (Number(problem.id.split('-')[1]) % 3 === 0 ? 1 : 0),
  }),
});
