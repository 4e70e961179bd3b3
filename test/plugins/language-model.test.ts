/** The score without reasoning: the generative critic's contract, without words and its option. */
import { expect, it } from 'vitest';
import languageModel from '../../plugins/critics/language-model.ts';
import { createCritic } from '../../src/checked-critic.ts';
import { textState } from '../../src/state.ts';
import { criticConformance } from '../conformance/critic.ts';
import { memoryEnvironment } from '../fixtures/memory-model.ts';

const actor = { name: 'actor', parameters: 85_000, successRate: 0.4 };
const problem = { id: 'p', prompt: 'say a word', columns: {} };
const words = ['good', 'bad'] as const;
const chance = { good: 0.9, bad: 0.1 };
const asked: boolean[] = [];
const format = {
  prompt: (state: { response: string }, _profile: unknown, thinking: boolean) => {
    asked.push(thinking);
    return `${state.response} so`;
  },
  score: { open: '<score>', close: '</score>' },
  appendEos: true,
};

const traces = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => {
    const word = words[(from + i) % 2]!;
    const id = `s${from + i}`;
    const state = textState({ id, problem, response: `it is ${word}`, group: i, actor });
    const rationale = 'words that nobody asked for';
    return { state, rationale, score: 10 * chance[word], observed: chance[word] };
  });

async function taught(steps = 60) {
  const { environment } = memoryEnvironment({ format });
  const options = languageModel.options.parse({ model: 'memory' });
  const critic = await createCritic(languageModel, options, environment);
  for (let step = 0; step < steps; step++)
    await critic.imitate!(traces(8 * step, 8), { learningRate: 4, maxGradNorm: null });
  return critic;
}

criticConformance('language-model', {
  make: () => taught(),
  problems: [problem],
  responses: ['', 'it is good', 'it is good bad'],
});

it('imitates the scores alone, and its error falls below that of the best constant', async () => {
  const critic = await taught();
  const states = traces(0, 40).map(({ state }) => state);
  const valuations = await critic.value(states, { purpose: 'test', iteration: 0 });
  const errors = valuations.map(({ value }, i) => (value - chance[words[i % 2]!]) ** 2);
  expect(errors.reduce((sum, error) => sum + error, 0) / 40).toBeLessThan(0.16 / 4);
  expect(valuations.every(({ rationale }) => rationale === '')).toBe(true);
  expect(new Set(asked)).toEqual(new Set([false]));
});

it('stays without words and thoughts when its options change during a run', async () => {
  const critic = await taught(0);
  asked.length = 0;
  critic.configure!(languageModel.options.parse({ model: 'memory', temperature: 0.5 }));
  expect(critic.wholeBatches).toBe(false);
  const states = traces(0, 4).map(({ state }) => state);
  await critic.value(states, { purpose: 'test', iteration: 0 });
  expect(new Set(asked)).toEqual(new Set([false]));
});

it('has no option `thinking`, and room for a score', () => {
  expect(languageModel.options.safeParse({ model: 'm', thinking: true }).success).toBe(false);
  expect(languageModel.options.parse({ model: 'm' })).toMatchObject({ max_new_tokens: 16 });
});
