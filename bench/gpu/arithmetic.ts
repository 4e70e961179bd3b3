/** Problems of one family from files that `arithmetic.py` wrote; the last number is the answer. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { defineTask, type Problem, type Task } from '../../src/index.ts';

const row = z.object({ question: z.string(), answer: z.string() });

export default defineTask({
  name: 'arithmetic',
  options: z.strictObject({
    /** Holds `FAMILY-train.jsonl` and `FAMILY-heldout.jsonl`. */
    folder: z.string(),
    family: z.string(),
  }),
  create({ folder, family }): Task {
    const read = (split: string) =>
      readFileSync(join(folder, `${family}-${split}.jsonl`), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => row.parse(JSON.parse(line)));
    const rows = { train: read('train'), heldout: read('heldout') };
    return {
      name: 'arithmetic',
      problems: (split, seed, from, count) =>
        Array.from({ length: count }, (_, i): Problem => {
          // A seed begins elsewhere in the same rows.
          const own = rows[split];
          const { question, answer } = own[(1009 * seed + from + i) % own.length]!;
          const content = `${question} Calculate it step by step.`;
          return {
            ...{ id: `${split}-${from + i}`, prompt: [{ role: 'user', content }] },
            columns: { question, answer },
          };
        }),
      reward: ({ text, problem }) =>
        Number(/(-?\d+)\D*$/.exec(text)?.[1] === problem.columns.answer),
    };
  },
});
