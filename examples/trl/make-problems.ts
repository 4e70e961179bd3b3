/**
 * Writes the embedded task's problems as a data set for TRL: `prompt` and `answer`, in JSON lines.
 * `--out` is a folder (default: runs/trl/problems).
 *
 *     node --import tsx examples/trl/make-problems.ts [--train 960] [--heldout 256] [--out FOLDER]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadTask } from '../../src/index.ts';

const { values } = parseArgs({
  options: {
    train: { type: 'string', default: '960' },
    heldout: { type: 'string', default: '256' },
    out: { type: 'string', default: 'runs/trl/problems' },
  },
});
const noPython = { call: () => Promise.reject(new Error('this task calls no Python function')) };
const { task } = await loadTask('miniature', { base: '.', python: noPython, log: console.error });
mkdirSync(values.out, { recursive: true });
for (const [split, count] of [
  ['train', Number(values.train)],
  ['heldout', Number(values.heldout)],
] as const) {
  const problems = await task.problems(split, 0, 0, count);
  const lines = problems.map(({ prompt, columns }) =>
    JSON.stringify({ prompt, answer: columns.answer }),
  );
  writeFileSync(join(values.out, `${split}.jsonl`), `${lines.join('\n')}\n`);
}
console.log(`${values.train} + ${values.heldout} problems in ${values.out}`);
