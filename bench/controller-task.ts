/** Problems without end, for `bench/controller.ts`. A third of the responses to each is right. */
import { z } from 'zod';
import { defineTask } from '../src/index.ts';

const statement = 'a fairly long statement of a problem, in words, with $n < 10$ in it. '.repeat(8);

export default defineTask({
  name: 'bench',
  options: z.strictObject({}),
  create: () => ({
    name: 'bench',
    problems: (split, _seed, from, count) =>
      Array.from({ length: count }, (_, i) => ({
        id: `${split}-${from + i}`,
        prompt: `Problem ${from + i}: ${statement}`,
        columns: {},
      })),
    reward: ({ text }) => (Number(/of (\d+)/.exec(text)?.[1]) % 3 === 0 ? 1 : 0),
  }),
});
