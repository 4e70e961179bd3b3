/** Importance sampling of the critic's REINFORCE, where its sampler is not the trained network. */
import { describe, expect, it } from 'vitest';
import { corrected } from '../../plugins/critics/generative/correction.ts';
import generative from '../../plugins/critics/generative.ts';
import languageModel from '../../plugins/critics/language-model.ts';
import { createCritic } from '../../src/checked-critic.ts';
import type { CriticContext } from '../../src/critic.ts';
import { textState } from '../../src/state.ts';
import type { CriticCompletion } from '../../src/types.ts';
import { type MemoryModel, memoryEnvironment } from '../fixtures/memory-model.ts';

const completion = (logprobs: readonly number[] | null, length: number): CriticCompletion => ({
  ...{ promptIds: Int32Array.of(7), completionIds: new Int32Array(length), text: '', score: 5 },
  ...(logprobs && { logprobs: Float32Array.from(logprobs) }),
});
const close = (numbers: readonly number[]) => numbers.map((x) => expect.closeTo(x, 6));

describe('weights by hand', () => {
  // The second one's last two tokens were not drawn by the engine.
  const trained = [
    [-1, -2.5, -0.5],
    [-3, -1, -2],
  ];
  const completions = [completion([-1.5, -2, -0.5], 3), completion([-2], 3)];
  const model = {
    logprobs: async (_: unknown, temperature?: number) => {
      expect(temperature).toBe(0.7);
      return trained.map((own) => Float32Array.from(own));
    },
  };
  const batch = { completions, weights: [2, -0.5] };
  const of = async (mode: 'token_truncate' | 'token_mask' | 'sequence_truncate', cap: number) => {
    const { weights, metrics } = await corrected(model, batch, { mode, cap }, 0.7);
    return { weights: weights.map((own) => [...own]), metrics };
  };

  it('each token has its own ratio, at most the cap', async () => {
    const { weights, metrics } = await of('token_truncate', 1.5);
    expect(weights).toEqual([
      close([2 * 1.5, 2 * Math.exp(-0.5), 2]),
      close([-0.5 * Math.exp(-1), -0.5, -0.5]),
    ]);
    const ratios = [1.5, Math.exp(-0.5), 1, Math.exp(-1)];
    const differences = [0.5, -0.5, 0, -1];
    const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
    expect(metrics).toEqual({
      sampling_kl: expect.closeTo(sum(differences.map((d) => Math.exp(d) - 1 - d)) / 4, 6),
      'sampling_logp_difference/mean': expect.closeTo(0.5, 6),
      'sampling_logp_difference/max': expect.closeTo(1, 6),
      'importance_sampling_ratio/mean': expect.closeTo(sum(ratios) / 4, 6),
      'importance_sampling_ratio/min': expect.closeTo(Math.exp(-1), 6),
      'importance_sampling_ratio/max': 1.5,
    });
  });

  it('above the cap a token counts for nothing', async () => {
    const { weights } = await of('token_mask', 1.5);
    expect(weights[0]).toEqual(close([0, 2 * Math.exp(-0.5), 2]));
  });

  it('all tokens of a completion have the ratio of what was drawn of it', async () => {
    const { weights } = await of('sequence_truncate', 2);
    expect(weights).toEqual([
      close([2, 2, 2]),
      close([-0.5, -0.5, -0.5].map((weight) => weight * Math.exp(-1))),
    ]);
  });

  it('tokens that were put in the critic’s mouth before others have no ratio', async () => {
    const one = { completions: [completion([Number.NaN, -2], 3)], weights: [1] };
    const known = { logprobs: async () => [Float32Array.of(-4, -1, -2)] };
    const { weights, metrics } = await corrected(known, one, { mode: 'token_truncate', cap: 9 }, 1);
    expect([...weights[0]!]).toEqual(close([1, Math.exp(1), 1]));
    expect(metrics['importance_sampling_ratio/min']).toBeCloseTo(Math.exp(1), 5);
  });

  it('completions without log-probabilities are an error', async () => {
    const none = { completions: [completion(null, 1)], weights: [1] };
    const one = { logprobs: async () => [Float32Array.of(-1)] };
    await expect(corrected(one, none, { mode: 'token_mask', cap: 2 }, 1)).rejects.toThrow(
      'needs completions with the log-probs of their sampler',
    );
  });
});

const actor = { name: 'actor', parameters: 85_000, successRate: 0.4 };
const state = textState({
  ...{ id: 's', problem: { id: 'p', prompt: 'say a word', columns: {} } },
  ...{ response: 'it is good', group: 0, actor },
});
const format = {
  prompt: ({ response }: { response: string }) => `${response} so`,
  score: { open: '#', close: '.' },
  appendEos: true,
};
const context: CriticContext = { purpose: 'test', iteration: 0 };

/** Weights of the loss of one update, and its metrics. `lower`: nats that the sampler takes off. */
async function update(given: object, lower = 0) {
  const { environment, models } = memoryEnvironment({ format });
  const options = generative.options.parse({
    ...{ model: 'memory', thinking: false, max_new_tokens: 8, completions_per_state: 8 },
    ...given,
  });
  const critic = await createCritic(generative, options, environment);
  for (let step = 0; step < 60; step++) {
    const traces = [2, 8].map((score) => ({ state, rationale: '', score, observed: score / 10 }));
    await critic.imitate!(traces, { learningRate: 2, maxGradNorm: null });
  }
  const model = [...models.values()][0] as MemoryModel;
  const sample = model.sample.bind(model);
  model.sample = async (request) =>
    (await sample(request)).map((one) => ({
      ...one,
      logprobs: one.logprobs.map((logprob) => logprob - lower),
    }));
  const seen: number[][] = [];
  const accumulate = model.accumulate.bind(model);
  model.accumulate = (sequences, masks, streams, normalizer) => {
    for (const [i, own] of streams[0]!.tensors.weights!.entries())
      seen.push(
        typeof own === 'number'
          ? sequences.slice(i, i + 1).flatMap(({ completionIds }) => [...completionIds].fill(own))
          : Array.from(own),
      );
    return accumulate(sequences, masks, streams, normalizer);
  };
  const valuations = await critic.value([state], context);
  const outcomes = [{ state, valuation: valuations[0]!, rewards: [1] }];
  const metrics = await critic.learn!(outcomes, { learningRate: 1, maxGradNorm: null });
  return { seen, metrics };
}

describe('the critic', () => {
  const importance_sampling = { mode: 'token_truncate', cap: 1.5 };

  it.each([[{}], [{ read: 'expected' }], [{ answer: 'forced', thinking: true }]])(
    'learns the same where both are the same: %j',
    async (options) => {
      const plain = await update(options);
      const { seen, metrics } = await update({ ...options, importance_sampling });
      expect(seen).toEqual(plain.seen.map(close));
      for (const [name, value] of Object.entries(plain.metrics))
        expect(metrics[name], name).toBeCloseTo(value, 6);
      expect(metrics['importance_sampling_ratio/mean']).toBeCloseTo(1, 6);
      expect(plain.metrics).not.toHaveProperty('sampling_kl');
    },
  );

  it('learns more of what the trained weights are likelier to write, up to the cap', async () => {
    const plain = await update({});
    const some = await update({ importance_sampling }, Math.log(1.25));
    expect(some.seen).toEqual(plain.seen.map((own) => close(own.map((weight) => 1.25 * weight))));
    expect(some.metrics['sampling_logp_difference/mean']).toBeCloseTo(Math.log(1.25), 6);
    const far = await update({ importance_sampling }, Math.log(4));
    expect(far.seen).toEqual(plain.seen.map((own) => close(own.map((weight) => 1.5 * weight))));
    expect(far.metrics['importance_sampling_ratio/max']).toBe(1.5);
  });

  it('leaves alone what the trained weights drew of a forced answer', async () => {
    const options = { answer: 'forced', thinking: true };
    const plain = await update(options);
    const { seen } = await update({ ...options, importance_sampling }, Math.log(1.25));
    let all = 0;
    for (const [i, own] of seen.entries()) {
      if (own[0] === 0) continue; // a score of 0, which earns nothing
      const ratios = own.map((weight, t) => weight / plain.seen[i]![t]!);
      const drawn = ratios.findIndex((ratio) => ratio < 1.1);
      expect(drawn).toBeGreaterThan(-1);
      all += drawn;
      expect(ratios.slice(0, drawn)).toEqual(close(ratios.slice(0, drawn).map(() => 1.25)));
      expect(ratios.slice(drawn)).toEqual(close(ratios.slice(drawn).map(() => 1)));
    }
    expect(all).toBeGreaterThan(0);
  });

  it('is refused where no engine draws anything, and left out of a critic by itself', () => {
    const given = { model: 'm', answer: 'forced', importance_sampling };
    for (const [{ options }, more] of [
      [generative, { thinking: false }],
      [languageModel, {}],
    ] as const) {
      expect(options.safeParse({ ...given, ...more }).error?.issues).toMatchObject([
        { path: ['importance_sampling'] },
      ]);
      expect(options.safeParse({ ...given, ...more, answer: 'free' }).success).toBe(true);
    }
    expect(generative.options.safeParse(given).success).toBe(true);
    const alone = generative.standalone!(given, 'folder', { completions: 1, thinking: false });
    expect(generative.options.parse(alone)).toMatchObject({ importance_sampling: null });
  });
});
