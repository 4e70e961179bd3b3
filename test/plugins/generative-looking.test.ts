/** Thinking that ends where the critic is sure. */
import { expect, it } from 'vitest';
import type { Written } from '../../plugins/critics/generative/carrying.ts';
import { spreadsOf } from '../../plugins/critics/generative/choosing.ts';
import { thinkUntilSure } from '../../plugins/critics/generative/looking.ts';
import generative from '../../plugins/critics/generative.ts';
import type { LanguageModel, SampleRequest } from '../../src/language-model.ts';
import type { Sequence } from '../../src/types.ts';

/** Writes 7s up to the limit, or to its own end. */
function writer(ends: readonly number[]) {
  const requests: { limit: number; prompts: number[][]; seeds: number[] }[] = [];
  const model = {
    sample: async ({ prompts, max_new_tokens: limit, seed }: SampleRequest) => {
      const begun = prompts as readonly Sequence[];
      requests.push({
        limit,
        prompts: begun.map(({ completionIds }) => [...completionIds]),
        seeds: begun.map((_, k) => seed(k)[0]),
      });
      return begun.map(({ promptIds, completionIds }) => {
        const end = Math.min(limit, ends[promptIds[0]!]!);
        const count = end - completionIds.length;
        const finishReason = end < limit ? 'stop_token' : 'length';
        const logprobs = new Float32Array(count).fill(-1);
        const ids = new Int32Array(count).fill(7);
        return { completionIds: ids, logprobs, text: `${end} words`, finishReason };
      });
    },
  } as unknown as LanguageModel;
  return { model, requests };
}

const begin = (i: number, carried: number): Sequence => ({
  promptIds: Int32Array.of(i),
  completionIds: new Int32Array(carried).fill(3),
});

it('looks at each thought every so many tokens, and goes on where it is not sure', async () => {
  // Its own end, what was carried on, and the length from which it is sure.
  const thoughts = [
    { end: 99, carried: 0, sure: 4 },
    { end: 99, carried: 0, sure: 99 },
    { end: 6, carried: 0, sure: 99 },
    { end: 99, carried: 5, sure: 8 },
  ];
  const { model, requests } = writer(thoughts.map(({ end }) => end));
  const looks: number[][] = [];
  const written = await thinkUntilSure(
    {
      ...{ model, every: 4, within: 0.1 },
      request: { max_new_tokens: 10, temperature: 1, top_p: null, top_k: null, stop_strings: [] },
      seed: (i, to) => [100 * to + i, 0],
      spreads: async (some: readonly Written[]) => {
        looks.push(some.map(({ completionIds }) => completionIds.length));
        return some.map(({ promptIds, completionIds }) =>
          completionIds.length >= thoughts[promptIds[0]!]!.sure ? 0.1 : 0.11,
        );
      },
    },
    thoughts.map(({ carried }, i) => begin(i, carried)),
    thoughts.map(({ carried }) => (carried ? 'carried' : '')),
  );
  expect(written.map(({ completionIds }) => completionIds.length)).toEqual([4, 10, 6, 8]);
  expect(written.map(({ finishReason }) => finishReason)).toEqual([
    ...['length', 'length', 'stop_token', 'length'],
  ]);
  expect(written.map(({ carried }) => carried)).toEqual([0, 0, 0, 5]);
  expect([...written[3]!.completionIds]).toEqual([3, 3, 3, 3, 3, 7, 7, 7]);
  const drawn = [...written[3]!.logprobs];
  expect(drawn.map((one) => (Number.isNaN(one) ? 'put' : one))).toEqual([
    ...['put', 'put', 'put', 'put', 'put'],
    ...[-1, -1, -1],
  ]);
  expect(looks).toEqual([
    [4, 4, 4],
    [8, 8],
  ]);
  // The one with a beginning of five tokens is first asked about up to eight; seeds differ by look.
  expect(requests.map(({ limit, seeds }) => [limit, seeds])).toEqual([
    [4, [400, 401, 402]],
    [8, [801, 802, 803]],
    [10, [1001]],
  ]);
});

it('looks at no thought that has no words of its own yet', async () => {
  const { model } = writer([99]);
  const looks: number[] = [];
  const [thought] = await thinkUntilSure(
    {
      ...{ model, every: 4, within: 0.1 },
      request: { max_new_tokens: 10, temperature: 1, top_p: null, top_k: null, stop_strings: [] },
      seed: () => [0, 0],
      spreads: async (some: readonly Written[]) => {
        looks.push(...some.map(({ completionIds }) => completionIds.length));
        return some.map(() => 0);
      },
    },
    [begin(0, 4)],
    ['carried'],
  );
  expect(looks).toEqual([8]);
  expect(thought).toMatchObject({ carried: 4, text: '8 words' });
});

it('is sure by the standard deviation of the score, at a tag that is opened there', async () => {
  const chances = [
    [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5],
    [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
    [0, 0, 0.5, 0, 0.5, 0, 0, 0, 0, 0, 0],
  ];
  const asked: number[][] = [];
  const model = {
    choices: async (sequences: readonly Sequence[]) => {
      asked.push(...sequences.map(({ completionIds }) => [...completionIds]));
      return chances.map((own) => Float32Array.from(own, (p) => Math.log(p + 1e-30)));
    },
  } as unknown as LanguageModel;
  const tokens = {
    ...{ open: [20], openBehind: [21, 20], gap: [22], close: [23] },
    scores: Array.from({ length: 11 }, (_, k) => [k]),
  };
  const format = { prompt: () => '', score: { open: '#', close: '.' }, appendEos: true };
  const thoughts = chances.map(
    (_, i): Written => ({
      ...{ ...begin(i, 2), text: 'so', finishReason: 'length' },
      logprobs: new Float32Array(),
    }),
  );
  const found = await spreadsOf({ model, tokens, format, temperature: 0.3 }, thoughts);
  expect(found[0]).toBeCloseTo(0.5, 6);
  expect(found[1]).toBeCloseTo(0, 6);
  expect(found[2]).toBeCloseTo(0.1, 6);
  expect(asked[0]).toEqual([3, 3, 21, 20, 22]);
});

it('needs a tag that is opened for it, and thoughts', () => {
  const given = { model: 'm', sure_within: 0.1 };
  for (const wrong of [{}, { answer: 'free' }, { answer: 'forced', thinking: false }])
    expect(generative.options.safeParse({ ...given, ...wrong }).error?.issues).toMatchObject([
      { path: ['sure_within'] },
    ]);
  expect(generative.options.safeParse({ ...given, answer: 'forced' }).success).toBe(true);
});

it('looks before the budget is spent, or is refused; a critic by itself then never looks', () => {
  const given = { model: 'm', answer: 'forced', sure_within: 0.1, look_every: 8 };
  for (const [max_new_tokens, success] of [
    [8, false],
    [9, true],
  ] as const)
    expect(generative.options.safeParse({ ...given, max_new_tokens }).success).toBe(success);
  const alone = (maxNewTokens: number) =>
    generative.options.parse(
      generative.standalone!(given, 'folder', { completions: 1, maxNewTokens }),
    );
  expect(alone(8)).toMatchObject({ sure_within: null, max_new_tokens: 8 });
  expect(alone(9)).toMatchObject({ sure_within: 0.1, max_new_tokens: 9 });
});
