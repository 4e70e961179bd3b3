/** The task of bench/gpu-smollm2.sh. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import arithmetic from '../../bench/gpu/arithmetic.ts';

const folder = mkdtempSync(join(tmpdir(), 'genac-arithmetic-'));
for (const [split, from] of [
  ['train', 0],
  ['heldout', 50],
] as const)
  writeFileSync(
    join(folder, `sums-${split}.jsonl`),
    [1, 2, 3]
      .map(
        (n) =>
          `${JSON.stringify({ question: `${n + from} + 1 =`, answer: String(n + from + 1) })}\n`,
      )
      .join(''),
  );

it('reads its problems, goes round, and rewards the last number', async () => {
  const task = await arithmetic.create({ folder, family: 'sums' }, {} as never);
  const asked = async (split: 'train' | 'heldout', seed: number) =>
    (await task.problems(split, seed, 0, 4)).map(({ columns }) => columns.answer);
  expect(await asked('train', 0)).toEqual(['2', '3', '4', '2']);
  expect(await asked('train', 1)).toEqual(['3', '4', '2', '3']);
  expect(await asked('heldout', 0)).toEqual(['52', '53', '54', '52']);
  const [problem] = await task.problems('train', 0, 0, 1);
  const reward = (text: string) =>
    task.reward!({ text, problem: problem!, finishReason: 'stop_token' });
  expect(['1 + 1 = 2', '1 + 1 = 2.', '2, not 3', '12', '-2', 'two'].map(reward)).toEqual([
    1, 1, 0, 0, 0, 0,
  ]);
});
