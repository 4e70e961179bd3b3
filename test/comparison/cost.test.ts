/** What values cost, counted from what critics return and report. */
import { expect, it } from 'vitest';
import { costOf } from '../../src/comparison/cost.ts';
import type { CriticCompletion, Valuation } from '../../src/types.ts';

const completion = (prompt: readonly number[], tokens: number, mask?: readonly number[]) => ({
  ...{ promptIds: Int32Array.from(prompt), completionIds: new Int32Array(tokens) },
  ...{ text: '', score: 5, ...(mask && { mask: Uint8Array.from(mask) }) },
});
const valuation = (...completions: readonly CriticCompletion[]): Valuation => ({
  ...{ value: 0.5, rationale: '', parsed: 'ok', completions },
});

it('reads the prompt of a state once, whatever the number of its completions', () => {
  const cost = costOf(
    [
      // Two completions of one prompt, whose ids lie at two places.
      valuation(completion([1, 2, 3], 4), completion([1, 2, 3], 5)),
      // Two parts of an ensemble, each with a prompt of its own.
      valuation(completion([1, 2, 4], 1), completion([9], 1)),
      valuation(),
    ],
    [],
    2,
  );
  expect(cost).toMatchObject({ states: 3, read: 3 + 3 + 1, read_shared: 4 + 1, written: 11 });
});

it('reads a prompt once for each part of an ensemble, also where the parts have the same', () => {
  const of = (part: string, prompt: readonly number[]) => ({ ...completion(prompt, 1), part });
  const cost = costOf(
    [
      valuation(of('part-0', [1, 2]), of('part-0', [1, 2]), of('part-1', [1, 2])),
      valuation(of('part-0', [1, 3])),
    ],
    [],
    2,
  );
  expect(cost).toMatchObject({ read: 2 + 2 + 2, read_shared: 2 + 1 + 2 });
});

it('counts what a critic drew itself, and what it reports', () => {
  const own = valuation(completion([1], 4, [0, 0, 1, 1]));
  const reports = [
    { 'part-1/value_tokens_read': 7, actor_tokens: 20 },
    { api_cost: 0.5, other: 3 },
  ];
  expect(costOf([own], reports, 1)).toMatchObject({ read: 1 + 7, written: 2 + 20, dollars: 0.5 });
});
