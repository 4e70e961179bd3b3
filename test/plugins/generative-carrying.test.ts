/** Thoughts that are carried on from one state of a response to the next. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { inRounds } from '../../plugins/critics/few-states/rounds.ts';
import { sampleFrom, Thoughts } from '../../plugins/critics/generative/carrying.ts';
import generative from '../../plugins/critics/generative.ts';
import { createCritic } from '../../src/checked-critic.ts';
import type { LanguageModel, SampleRequest } from '../../src/language-model.ts';
import { groupBy } from '../../src/math/statistics.ts';
import { textState } from '../../src/state.ts';
import type { CriticCompletion, State, Valuation } from '../../src/types.ts';
import { criticConformance } from '../conformance/critic.ts';
import { memoryEnvironment } from '../fixtures/memory-model.ts';

const format = {
  prompt: (state: { response: string }) => `${state.response} so`,
  score: { open: '#', close: '.' },
  appendEos: true,
};

const actor = { name: 'actor', parameters: 85_000, successRate: 0.4 };
const problem = { id: 'p', prompt: 'say a word', columns: {} };

/** State k of response `trajectory`; null: the one that its group shares. */
function stateOf(trajectory: number | null, k: number, group = 0): State {
  const id = trajectory === null ? `g${group}` : `t${trajectory}.${k}`;
  const response = `it is ${'good '.repeat(k)}`.trim();
  return { ...textState({ id, problem, response, group, actor, index: k }), trajectory };
}

const wrote = (...texts: readonly string[]): Valuation => ({
  ...{ value: 0.5, rationale: '', parsed: 'ok' },
  completions: texts.map(
    (text): CriticCompletion => ({
      ...{ text, score: /\d/.test(text) ? 5 : null },
      ...{ promptIds: new Int32Array(), completionIds: new Int32Array() },
    }),
  ),
});

it('asks about a state after those before it in its response, and in as few rounds as that takes', () =>
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(fc.nat(4), fc.integer({ min: 1, max: 9 })), { selector: String }),
      fc.boolean(),
      (places, hasFirst) => {
        const states = places.map(([trajectory, k]) => stateOf(trajectory, k));
        if (hasFirst) states.push(stateOf(null, 0));
        const rounds = inRounds(states);
        expect(rounds.flat().sort((a, b) => a - b)).toEqual([...states.keys()]);
        const roundOf = new Map(rounds.flatMap((round, r) => round.map((s) => [s, r] as const)));
        for (const [a, one] of states.entries())
          for (const [b, other] of states.entries()) {
            const isSame = one.trajectory === other.trajectory || one.trajectory === null;
            if (isSame && one.index < other.index)
              expect(roundOf.get(a)!).toBeLessThan(roundOf.get(b)!);
          }
        const lengths = [...groupBy(places, ([trajectory]) => trajectory).values()];
        const longest = Math.max(0, ...lengths.map((own) => own.length));
        expect(rounds.length).toBe(longest + (hasFirst ? 1 : 0));
      },
    ),
  ));

it('goes on from the nearest state before, up to the last place of the text', () => {
  const thoughts = new Thoughts('left', format);
  thoughts.remember(stateOf(null, 0), wrote('fine left 3 # 5 .'));
  expect(thoughts.before(stateOf(null, 0))).toBeNull();
  expect(thoughts.before(stateOf(0, 2))).toEqual(['fine']);
  thoughts.remember(stateOf(0, 3), wrote('a left b left 1 # 5 .'));
  thoughts.remember(stateOf(0, 1), wrote('a left 2 # 5 .'));
  thoughts.remember(stateOf(1, 1), wrote('c left 2 # 5 .'));
  expect(thoughts.before(stateOf(0, 2))).toEqual(['a']);
  expect(thoughts.before(stateOf(0, 4))).toEqual(['a left b']);
  expect(thoughts.before(stateOf(1, 4))).toEqual(['c']);
  expect(thoughts.before(stateOf(2, 1, 7))).toBeNull();
});

it('carries nothing on from an answer without a score, or without the text', () => {
  const thoughts = new Thoughts('left', format);
  thoughts.remember(stateOf(0, 1), wrote('it rambles left', 'no such word # 5 .', 'ok left # 5 .'));
  expect(thoughts.before(stateOf(0, 2))).toEqual(['', '', 'ok']);
});

it('carries on the thought alone, also where the text is in the score’s own tag', () => {
  const tags = { score: { open: '<score>', close: '</score>' } };
  const thoughts = new Thoughts('score', tags);
  const both = ['so the score is low <score>2</score>', 'it is low <score>2</score>'];
  thoughts.remember(stateOf(0, 1), wrote(...both));
  expect(thoughts.before(stateOf(0, 2))).toEqual(['so the', '']);
});

it('draws each completion by its own seed, with or without a beginning, and begins long ones afresh', async () => {
  const seen: object[] = [];
  const model = {
    tokenize: async (prompts: readonly string[], texts: readonly string[]) =>
      texts.map((text, i) => ({
        promptIds: Int32Array.of(prompts[i]!.length),
        completionIds: Int32Array.from(text.split(' '), Number),
      })),
    sample: async ({ prompts, seed }: SampleRequest) =>
      prompts.map((prompt, i) => {
        const begun = typeof prompt === 'object' && 'promptIds' in prompt;
        seen.push([begun ? [...prompt.completionIds] : prompt, seed(i)]);
        const new_ = Int32Array.of(seed(i)[0]);
        const text = begun ? [...prompt.completionIds, ...new_].join(' ') : `${new_}`;
        return {
          promptIds: Int32Array.of(9),
          completionIds: new_,
          text,
          logprobs: Float32Array.of(-1),
          finishReason: 'stop_token',
        };
      }),
  } as unknown as LanguageModel;
  const request = {
    ...{ prompts: ['p', 'qq'], completionsPerPrompt: 2, max_new_tokens: 3 },
    seed: (i: number) => [100 + i, 0] as const,
  } as unknown as SampleRequest;
  const written = await sampleFrom(model, request, ['', '1 2', '1 2 3', '4']);
  expect(seen).toEqual([
    ['p', [100, 0]],
    ['qq', [102, 0]],
    [
      [1, 2],
      [101, 0],
    ],
    [[4], [103, 0]],
  ]);
  expect(
    written.map(({ completionIds, carried, text }) => [[...completionIds], carried, text]),
  ).toEqual([
    [[100], undefined, '100'],
    [[1, 2, 101], 2, '1 2 101'],
    [[102], undefined, '102'],
    [[4, 103], 1, '4 103'],
  ]);
  expect(written[3]!.promptIds).toEqual(Int32Array.of(2));
  expect(written[1]!.logprobs).toEqual(Float32Array.of(Number.NaN, Number.NaN, -1));
});

/** It was taught to think `it is fine left`, and scores of 2 and 8. */
async function taught(given: object = {}) {
  const { environment } = memoryEnvironment({ format });
  const options = generative.options.parse({
    ...{ model: 'memory', max_new_tokens: 24, carry_until: 'left', completions_per_state: 2 },
    ...given,
  });
  const critic = await createCritic(generative, options, environment);
  for (let step = 0; step < 60; step++) {
    const traces = [2, 8].map((score) => ({
      ...{ state: stateOf(0, 1), rationale: 'it is fine left', score, observed: score / 10 },
    }));
    await critic.imitate!(traces, { learningRate: 2, maxGradNorm: null });
  }
  // The model in memory gets to know all words before anything is compared.
  const { state, ...trace } = { state: stateOf(0, 1), rationale: '', score: 2, observed: 0.2 };
  const words = { ...state, response: 'it is good bad' };
  await critic.imitate!([{ state: words, ...trace }], { learningRate: 0, maxGradNorm: null });
  return critic;
}

criticConformance('generative, thoughts carried on', {
  make: taught,
  problems: [problem],
  responses: ['', 'it is good', 'it is good bad'],
  skip: { batch: 'a thought goes on from that about the state before' },
});

for (const answer of ['free', 'forced'])
  it(`writes, counts and learns only what is new, answer: ${answer}`, async () => {
    const critic = await taught({ answer });
    const states = [stateOf(null, 0), ...[1, 2, 3].map((k) => stateOf(0, k))];
    let written = 0;
    let put = 0;
    const report = ({ tokens_written = 0, tokens_carried = 0 }) => {
      written += tokens_written;
      put += tokens_carried;
    };
    const valuations = await critic.value(states, { purpose: 'test', iteration: 0, report });
    let [drawn, all] = [0, 0];
    let begun = 0;
    for (const [k, { completions }] of valuations.entries())
      for (const [i, { text, mask, completionIds }] of completions.entries()) {
        all += completionIds.length;
        drawn += mask?.reduce((sum, one) => sum + one, 0) ?? completionIds.length;
        const earlier = k > 0 ? valuations[k - 1]!.completions[i]! : null;
        if (earlier === null || earlier.score === null || !earlier.text.includes('left')) continue;
        const beginning = earlier.text.slice(0, earlier.text.lastIndexOf('left')).trimEnd();
        expect(text.startsWith(beginning)).toBe(true);
        if (beginning !== '') begun++;
        expect(mask?.[0] ?? 1).toBe(beginning === '' ? 1 : 0);
      }
    expect(begun).toBeGreaterThan(2);
    // An end of a thought that was drawn makes room for the tag.
    if (answer === 'free') expect([written, put]).toEqual([drawn, all - drawn]);
    else expect(written).toBeGreaterThanOrEqual(drawn);
    const outcomes = states.map((state, s) => ({ state, valuation: valuations[s]!, rewards: [1] }));
    const metrics = await critic.learn!(outcomes, { learningRate: 0.1, maxGradNorm: null });
    expect(metrics.tokens).toBe(drawn);
  });
