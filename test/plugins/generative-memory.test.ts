/** The generative critic on a model in memory: the whole contract in milliseconds. */
import { expect, it } from 'vitest';
import generative from '../../plugins/critics/generative.ts';
import { createCritic } from '../../src/checked-critic.ts';
import type { Critic } from '../../src/critic.ts';
import { Random } from '../../src/math/random.ts';
import { textState } from '../../src/state.ts';
import type { OracleTrace } from '../../src/task.ts';
import { criticConformance } from '../conformance/critic.ts';
import { memoryEnvironment } from '../fixtures/memory-model.ts';

const actor = { name: 'actor', parameters: 85_000, successRate: 0.4 };
const words = ['good', 'fair', 'bad'] as const;
const scores = { good: 9, fair: 5, bad: 1 };

/** A response whose last word says its chance. */
function trace(i: number): OracleTrace {
  const word = words[i % 3]!;
  const problem = { id: `p${i}`, prompt: 'say a word', columns: {} };
  const state = textState({ id: `s${i}`, problem, response: `it is ${word}`, group: i, actor });
  return { state, rationale: '', score: scores[word], observed: scores[word] / 10 };
}

const format = {
  prompt: (state: { response: string }) => `${state.response} so`,
  score: { open: '<score>', close: '</score>' },
  appendEos: true,
};

async function taught(): Promise<Critic> {
  const options = generative.options.parse({ model: 'memory', thinking: false, max_new_tokens: 4 });
  const { environment } = memoryEnvironment({ format });
  const critic = await createCritic(generative, options, environment);
  for (let step = 0; step < 60; step++) {
    const traces = Array.from({ length: 12 }, (_, i) => trace(12 * step + i));
    await critic.imitate!(traces, { learningRate: 4, maxGradNorm: null });
  }
  return critic;
}

criticConformance('generative, in memory', {
  make: taught,
  problems: [{ id: 'p', prompt: 'say a word', columns: {} }],
  responses: ['', 'it is good', 'it is good bad'],
});

const errorOf = async (critic: Critic, value: (word: (typeof words)[number]) => number) => {
  const states = Array.from({ length: 60 }, (_, i) => trace(i).state);
  const valuations = await critic.value(states, { purpose: 'test', iteration: 0 });
  const squares = valuations.map((v, i) => (v.value - value(words[i % 3]!)) ** 2);
  return squares.reduce((sum, square) => sum + square, 0) / squares.length;
};

it('imitates: it says what the oracle says, which depends on the state', async () => {
  const critic = await taught();
  expect(await errorOf(critic, (word) => scores[word] / 10)).toBeLessThan(0.03);
});

it('learns from outcomes what the chance is, where the oracle was wrong', async () => {
  const critic = await taught();
  const chance = { good: 0.5, fair: 0.5, bad: 0.9 };
  const before = await errorOf(critic, (word) => chance[word]);
  const random = new Random([1, 2]);
  for (let iteration = 0; iteration < 120; iteration++) {
    const states = Array.from({ length: 30 }, (_, i) => trace(30 * iteration + i).state);
    const valuations = await critic.value(states, { purpose: 'learn', iteration });
    const outcomes = states.map((state, i) => ({
      state,
      valuation: valuations[i]!,
      rewards: [random.uniform() < chance[words[i % 3]!] ? 1 : 0],
    }));
    await critic.learn!(outcomes, { learningRate: 4, maxGradNorm: null });
  }
  expect(await errorOf(critic, (word) => chance[word])).toBeLessThan(0.6 * before);
});

it('says once that it is taught more than it may write, unless its score is forced', async () => {
  const told = async (changes: object) => {
    const options = generative.options.parse({ model: 'memory', ...changes });
    const { environment } = memoryEnvironment({ format });
    const lines: string[] = [];
    const log = (text: string) => void lines.push(text);
    const critic = await createCritic(generative, options, { ...environment, log });
    const long = { ...trace(0), rationale: 'it is good so it is' };
    for (let step = 0; step < 2; step++)
      await critic.imitate!([trace(1), long], { learningRate: 1, maxGradNorm: null });
    return lines.filter((line) => line.includes('max_new_tokens'));
  };
  const [line, ...more] = await told({ max_new_tokens: 5 });
  expect(more).toEqual([]);
  expect(line).toMatch(/^1 of 2 traces of stage 1 are longer than critic.max_new_tokens \(5; the/);
  expect(await told({ max_new_tokens: 48 })).toEqual([]);
  expect(await told({ max_new_tokens: 5, answer: 'forced' })).toEqual([]);
});
