/** Scores by their probabilities: the expected score, forced answers, completions that agree. */
import { describe, expect, it } from 'vitest';
import { answersTo } from '../../plugins/critics/generative/answers.ts';
import { forcedAnswers } from '../../plugins/critics/generative/choosing.ts';
import { scoreTokensOf } from '../../plugins/critics/generative/score-tokens.ts';
import { valueStates } from '../../plugins/critics/generative/valuing.ts';
import generative from '../../plugins/critics/generative.ts';
import languageModel from '../../plugins/critics/language-model.ts';
import { BridgeError } from '../../src/bridge/errors.ts';
import { createCritic } from '../../src/checked-critic.ts';
import type { Critic, CriticContext } from '../../src/critic.ts';
import type { LanguageModel, SampleRequest } from '../../src/language-model.ts';
import { mean } from '../../src/math/statistics.ts';
import { textState } from '../../src/state.ts';
import type { Sequence } from '../../src/types.ts';
import { criticConformance } from '../conformance/critic.ts';
import { type MemoryModel, memoryEnvironment } from '../fixtures/memory-model.ts';

const actor = { name: 'actor', parameters: 85_000, successRate: 0.4 };
const problem = { id: 'p', prompt: 'say a word', columns: {} };
const format = {
  prompt: (state: { response: string }) => `${state.response} so`,
  score: { open: '#', close: '.' },
  appendEos: true,
};
const stateOf = (response: string, i = 0) =>
  textState({ id: `s${i}`, problem, response, group: i, actor });
const context: CriticContext = { purpose: 'test', iteration: 0 };

/** A critic that was taught scores of 2 and 8 for one state, as often as each other. */
async function taught(given: object): Promise<{ critic: Critic; model: MemoryModel }> {
  const options = generative.options.parse({
    ...{ model: 'memory', thinking: false, max_new_tokens: 8 },
    ...given,
  });
  const { environment, models } = memoryEnvironment({ format });
  const critic = await createCritic(generative, options, environment);
  for (let step = 0; step < 60; step++) {
    const traces = [2, 8].map((score) => ({
      ...{ state: stateOf('it is good'), rationale: '', score, observed: score / 10 },
    }));
    await critic.imitate!(traces, { learningRate: 2, maxGradNorm: null });
  }
  return { critic, model: [...models.values()][0] as MemoryModel };
}

for (const given of [
  { read: 'expected' },
  { answer: 'forced', read: 'sampled' },
  { answer: 'forced', read: 'expected', completions_per_state: 2 },
  { read: 'sampled', completions_per_state: 5, agree_within: 1 },
  { share_of_states: 0.5 },
  { thinking: true, answer: 'forced', sure_within: 0.2, look_every: 3 },
])
  criticConformance(`generative, ${JSON.stringify(given)}`, {
    make: async () => {
      const { critic, model } = await taught(given);
      // Each word that it reads for the first time is one more that it may write.
      await model.tokenize(['it is good bad so'], ['']);
      return critic;
    },
    problems: [problem],
    responses: ['', 'it is good', 'it is good bad'],
    ...('share_of_states' in given && {
      skip: { batch: 'what else is in the batch decides what is asked' },
    }),
  });

describe('read: expected', () => {
  it('is the mean of what many sampled scores say, from one completion', async () => {
    const { critic } = await taught({ read: 'expected' });
    const { critic: sampling } = await taught({ read: 'sampled', completions_per_state: 400 });
    const [one] = await critic.value([stateOf('it is good')], context);
    const [many] = await sampling.value([stateOf('it is good')], context);
    expect(one!.completions).toHaveLength(1);
    expect(many!.value).toBeGreaterThan(0.4);
    expect(Math.abs(one!.value - many!.value)).toBeLessThan(0.04);
    // The score that was drawn stays what it learns from.
    expect([0.2, 0.8]).toContain(one!.completions[0]!.score! / 10);
  });

  it('has less variance than a sampled score', async () => {
    const spread = async (given: object) => {
      const { critic } = await taught(given);
      const states = Array.from({ length: 60 }, (_, i) => stateOf('it is good', i));
      const values = (await critic.value(states, context)).map(({ value }) => value);
      return mean(values.map((value) => (value - mean(values)) ** 2));
    };
    expect(await spread({ read: 'expected' })).toBeLessThan(
      0.1 * (await spread({ read: 'sampled' })),
    );
  });
});

describe('answer: forced', () => {
  it('gives a model that never heard of scores one each time, and free none', async () => {
    const { environment } = memoryEnvironment({ format });
    const parsed = async (answer: string) => {
      const options = generative.options.parse({ model: 'memory', thinking: false, answer });
      const critic = await createCritic(generative, options, environment);
      const states = Array.from({ length: 30 }, (_, i) => stateOf('it is good', i));
      return (await critic.value(states, context)).filter(({ parsed }) => parsed === 'ok').length;
    };
    expect([await parsed('forced'), await parsed('free')]).toEqual([30, 0]);
  });

  it('learns from the score that was drawn, not from the tag that was opened', async () => {
    const { critic, model } = await taught({ answer: 'forced', read: 'sampled' });
    const reported: object[] = [];
    const report = (metrics: object) => void reported.push(metrics);
    const [valuation] = await critic.value([stateOf('it is good')], { ...context, report });
    expect(reported).toEqual([{ tokens_written: 1 }]);
    const { completionIds, mask, score, text } = valuation!.completions[0]!;
    const words = await model.tokenize(['x'], [`# ${score}`]);
    expect(completionIds).toEqual(words[0]!.completionIds);
    expect([...mask!]).toEqual(
      [...completionIds].map((_, i) => Number(i === completionIds.length - 1)),
    );
    expect(text).toBe(`# ${score} .`);
    const metrics = await critic.learn!(
      [{ state: stateOf('it is good'), valuation: valuation!, rewards: [1] }],
      { learningRate: 0.1, maxGradNorm: null },
    );
    expect(metrics.tokens).toBe(1);
  });

  it('is the likeliest score where it is asked for the best one', async () => {
    const { critic } = await taught({ answer: 'forced', read: 'sampled' });
    await critic.imitate!(
      [{ state: stateOf('it is good'), rationale: '', score: 8, observed: 0.8 }],
      { learningRate: 2, maxGradNorm: null },
    );
    const [valuation] = await critic.value([stateOf('it is good')], { ...context, greedy: true });
    expect(valuation!.value).toBe(0.8);
  });
});

it('a forced 1 of a tokenizer of digits ends there, so that it is told from a 10', async () => {
  // Ids: # 20, blank 21, digits 0 to 9, full stop 22.
  const scores = Array.from({ length: 11 }, (_, k) => (k < 10 ? [k] : [1, 0]));
  const tokens = { open: [20], openBehind: [20], gap: [21], scores, close: [21, 22] };
  const forced = async (score: number) => {
    const chances = scores.map((_, k) => (k === score ? 0 : -50));
    const model = { choices: async () => [Float32Array.from(chances)] };
    const choosing = {
      ...{ model: model as unknown as LanguageModel, tokens, format },
      ...{ temperature: 1, expected: false },
    };
    const [answer] = await forcedAnswers(choosing, [Int32Array.of(30)], null, null);
    const { completionIds, mask } = answer!.completion;
    return [[...completionIds], [...mask!]];
  };
  expect(await forced(1)).toEqual([
    [20, 21, 1, 21],
    [0, 0, 1, 1],
  ]);
  expect(await forced(10)).toEqual([
    [20, 21, 1, 0],
    [0, 0, 1, 1],
  ]);
  expect(await forced(2)).toEqual([
    [20, 21, 2],
    [0, 0, 1],
  ]);
});

it('agree_within ends with two completions that agree, and goes on where they do not', async () => {
  const { critic } = await taught({ read: 'sampled', completions_per_state: 6, agree_within: 0 });
  const states = Array.from({ length: 60 }, (_, i) => stateOf('it is good', i));
  const valuations = await critic.value(states, context);
  const counts = valuations.map(({ completions }) => completions.length);
  expect(new Set(counts)).toEqual(new Set([2, 6]));
  for (const { completions } of valuations) {
    const scores = new Set(completions.map(({ score }) => score));
    expect(completions.length).toBe(scores.size === 1 && !scores.has(null) ? 2 : 6);
  }
});

it('agree_within needs a third completion, and is left out where a critic by itself has fewer', () => {
  const given = { model: 'm', agree_within: 1, completions_per_state: 3 };
  for (const { options, standalone } of [generative, languageModel]) {
    expect(options.safeParse(given).success).toBe(true);
    const fewer = options.safeParse({ ...given, completions_per_state: 2 });
    expect(fewer.error?.issues).toMatchObject([{ path: ['agree_within'] }]);
    const alone = standalone!(given, 'folder', { completions: 1 });
    expect(options.parse(alone)).toMatchObject({ agree_within: null, completions_per_state: 1 });
    expect(standalone!(given, 'folder', { completions: 4 })).toMatchObject({ agree_within: 1 });
  }
});

it('the tag is read as the text that traces hold, not as a control token', async () => {
  const { environment, models } = memoryEnvironment({ format });
  const model = await environment.loadModel('critic', { model: 'memory' } as never);
  const literal: boolean[] = [];
  const watched = Object.create(model) as LanguageModel;
  watched.tokenize = (prompts, texts, eos, isLiteral = false) => {
    literal.push(isLiteral);
    return models.get('critic')!.tokenize(prompts, texts, eos);
  };
  expect((await scoreTokensOf(watched, format))!.scores).toHaveLength(11);
  expect(literal).toEqual([true]);
});

it('where a tokenizer joins the tag with the score, the score that is written is the value', async () => {
  const idOf = (part: string) =>
    part.charCodeAt(0) * 100 + part.length * 7 + part.charCodeAt(part.length - 1);
  const written = '<score>7</score>';
  const joining = {
    tokenize: async (_: unknown, texts: readonly string[]) =>
      texts.map((text) => ({
        promptIds: new Int32Array(),
        completionIds: Int32Array.from(text.match(/>\d+|[a-z]+|\s|./g)!.map(idOf)),
      })),
    sample: async () => [
      { promptIds: Int32Array.of(1), completionIds: Int32Array.of(2), text: written },
    ],
  } as unknown as LanguageModel;
  const tags = { ...format, score: { open: '<score>', close: '</score>' } };
  expect(await scoreTokensOf(joining, tags)).toBeNull();
  const logged: string[] = [];
  const asked = [{ state: stateOf('it is'), prompt: 'it is so', standIn: 0.5, carried: null }];
  const ask = (given: object) => {
    const options = generative.options.parse({ model: 'memory', thinking: false, ...given });
    const asking = { model: joining, format: tags, seed: 0, options, perState: 1, context };
    return answersTo({ ...asking, log: (text) => logged.push(text) }, asked, null);
  };
  for (const read of ['expected', 'expected', 'sampled'])
    expect(await ask({ read })).toMatchObject([{ value: 0.7, parsed: 'ok' }]);
  expect(logged).toEqual([expect.stringMatching(/joins "<score>".*as by read: sampled/)]);
  await expect(ask({ answer: 'forced' })).rejects.toThrow(/joins "<score>".*use answer: free/);
});

it('leaves room for a tag of many tokens, and asks nothing that would leave none', async () => {
  const tag = { ...format, score: { open: '<the score in whole numbers>', close: '</>' } };
  const idsOf = (text: string) => Int32Array.from(text, (letter) => letter.charCodeAt(0));
  const thought = 'so';
  // Two letters of a prompt, the thought, and a line with the tag and two digits.
  const needed = 2 + thought.length + 1 + tag.score.open.length + 2;
  const valued = async (context_length: number) => {
    const model = {
      loaded: { context_length },
      tokenize: async (prompts: readonly string[], texts: readonly string[]) =>
        texts.map((text, i) => ({
          promptIds: idsOf(prompts[i]!),
          completionIds: idsOf(text),
        })),
      sample: async ({ prompts }: SampleRequest) =>
        prompts.map((prompt) => ({
          ...{ promptIds: idsOf(prompt as string), completionIds: idsOf(thought) },
          ...{ text: thought, logprobs: new Float32Array(), finishReason: 'length' },
        })),
      choices: async (sequences: readonly Sequence[], scores: readonly number[][]) =>
        sequences.map(({ promptIds, completionIds }) => {
          if (promptIds.length + completionIds.length + 2 > context_length)
            throw new BridgeError('bad_arguments', 'more than the context');
          return new Float32Array(scores.length);
        }),
    } as unknown as LanguageModel;
    const options = generative.options.parse({
      ...{ model: 'm', answer: 'forced', max_new_tokens: thought.length },
    });
    const valuing = { model, format: tag, seed: 0, options, log: () => {}, promptOf: () => 'it' };
    return valueStates(valuing, [stateOf('')], context);
  };
  expect(await valued(needed - 1)).toMatchObject([{ skipped: 'too-long' }]);
  const [enough] = await valued(needed + 1);
  expect(enough).toMatchObject({ parsed: 'ok', value: expect.closeTo(0.5, 6) });
});
