/** What the ratios start from where the sampler computes otherwise than the trained weights. */
import { describe, expect, it } from 'vitest';
import type { Training } from '../../src/iteration/context.ts';
import { servedKl, withOldLogprobs } from '../../src/iteration/old-logprobs.ts';
import type { SampledTrajectory } from '../../src/types.ts';

const sampled = Float32Array.of(-1, -2, -3);
const trajectory = { logprobs: sampled, actorMask: null } as unknown as SampledTrajectory;
const credited = [
  {
    trajectory,
    credit: { advantages: Float32Array.of(1, -1, 2) } as never,
  },
];

/** A training whose actor has these log-probabilities now. */
function training(old: readonly number[], options: object): Training {
  const logprobs = async () => [Float32Array.from(old)];
  return {
    actor: { logprobs, loaded: { dtype: 'float32' } },
    config: {
      sampling: { temperature: 1 },
      actor: {
        old_logprobs: 'recomputed',
        importance_sampling: null,
        max_sampling_kl: null,
        ...options,
      },
    },
  } as unknown as Training;
}

describe('withOldLogprobs', () => {
  it('takes those of the sampler, and asks the model for nothing', async () => {
    const asked = training([], { old_logprobs: 'sampler' });
    const { members, metrics } = await withOldLogprobs(asked, credited);
    expect(members[0]!.oldLogprobs).toBe(sampled);
    expect(metrics).toEqual({});
  });

  it('takes recomputed ones, and tells how far they are', async () => {
    const { members, metrics } = await withOldLogprobs(training([-1.01, -2, -2.98], {}), credited);
    expect([...members[0]!.oldLogprobs]).toEqual(
      [-1.01, -2, -2.98].map((x) => expect.closeTo(x, 6)),
    );
    expect([...members[0]!.advantages]).toEqual([1, -1, 2]);
    expect(metrics['sampling/sampling_logp_difference/mean']).toBeCloseTo(0.01, 6);
    expect(metrics['sampling/sampling_logp_difference/max']).toBeCloseTo(0.02, 6);
    expect(metrics['actor/sampling_kl']).toBeCloseTo((0.01 ** 2 + 0.02 ** 2) / 2 / 3, 6);
  });

  it('corrects the advantages, token by token', async () => {
    const options = { importance_sampling: { mode: 'token_truncate', cap: 2 }, max_sampling_kl: 5 };
    const { members, metrics } = await withOldLogprobs(
      training([-0.5, -2.5, -1], options),
      credited,
    );
    expect([...members[0]!.advantages]).toEqual(
      [Math.exp(0.5), -Math.exp(-0.5), 2 * 2].map((x) => expect.closeTo(x, 5)),
    );
    expect(metrics['sampling/importance_sampling_ratio/max']).toBe(2);
    expect(metrics['sampling/importance_sampling_ratio/min']).toBeCloseTo(Math.exp(-0.5), 6);
  });

  it('leaves out tokens that the actor did not write', async () => {
    const one = { trajectory: { ...trajectory, actorMask: Uint8Array.of(1, 0, 1) } };
    const tool = [{ ...credited[0]!, ...one }] as typeof credited;
    const { metrics } = await withOldLogprobs(training([-1, -9, -3], {}), tool);
    expect(metrics['sampling/sampling_logp_difference/max']).toBe(0);
  });

  it('refuses a sampler that is farther than the limit, in words', async () => {
    const far = training([-0.5, -2.5, -1], {});
    await expect(withOldLogprobs(far, credited)).rejects.toThrow(/where rounding explains 0.001/);
    const limited = training([-0.5, -2.5, -1], { max_sampling_kl: 0.5 });
    await expect(withOldLogprobs(limited, credited)).rejects.toThrow(
      /actor.max_sampling_kl allows 0.5/,
    );
  });
});

it('servedKl is the KL for each token', () => {
  expect(servedKl({ approximate_kl: 0.02, tokens: 100 }, 'float32')).toBeCloseTo(0.0002, 12);
  expect(() => servedKl({ approximate_kl: 2, tokens: 100 }, 'bfloat16')).toThrow(/0.0200 nats/);
  expect(servedKl({ approximate_kl: 2, tokens: 100 }, 'bfloat16', 0.05)).toBe(0.02);
});
