import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  importanceModes,
  importanceWeights,
  samplingGap,
} from '../../src/math/importance-sampling.ts';

describe('importanceWeights', () => {
  const old = [-1, -2, -0.5];
  const sampled = [-1.5, -1, -0.5];
  const close = (numbers: readonly number[]) => numbers.map((x) => expect.closeTo(x, 6));

  it('is the ratio of each token, cut or masked above the cap', () => {
    const ratios = [Math.exp(0.5), Math.exp(-1), 1];
    expect([...importanceWeights(old, sampled, 'token_truncate', 1.2)]).toEqual(
      close([1.2, ratios[1]!, 1]),
    );
    expect([...importanceWeights(old, sampled, 'token_mask', 1.2)]).toEqual(
      close([0, ratios[1]!, 1]),
    );
    expect([...importanceWeights(old, sampled, 'token_truncate', 2)]).toEqual(close(ratios));
  });

  it('is the ratio of the whole response, the same for its tokens', () => {
    const ratio = Math.exp(0.5 - 1);
    expect([...importanceWeights(old, sampled, 'sequence_truncate', 2)]).toEqual(
      close([ratio, ratio, ratio]),
    );
    expect([...importanceWeights(sampled, old, 'sequence_truncate', 1.5)]).toEqual(
      close([1.5, 1.5, 1.5]),
    );
    expect([...importanceWeights(sampled, old, 'sequence_mask', 1.5)]).toEqual([0, 0, 0]);
  });

  it('is 1 where both are the same, and never above the cap', () => {
    const logprobs = fc.array(fc.double({ min: -20, max: 0, noNaN: true }), { maxLength: 20 });
    fc.assert(
      fc.property(logprobs, logprobs, fc.constantFrom(...importanceModes), (a, b, mode) => {
        const length = Math.min(a.length, b.length);
        const [one, other] = [a.slice(0, length), b.slice(0, length)];
        expect([...importanceWeights(one, one, mode, 2)]).toEqual(one.map(() => 1));
        for (const weight of importanceWeights(one, other, mode, 2)) {
          expect(weight).toBeGreaterThanOrEqual(0);
          expect(weight).toBeLessThanOrEqual(2);
        }
      }),
    );
  });
});

describe('samplingGap', () => {
  it('is computed by hand', () => {
    const gap = samplingGap([
      [
        [-1, -2],
        [-1.5, -1],
      ],
      [[-3], [-3]],
    ]);
    expect(gap.mean).toBeCloseTo(0.5, 12);
    expect(gap.max).toBe(1);
    expect(gap.p99).toBe(1);
    expect(gap.kl).toBeCloseTo((Math.exp(0.5) - 1.5 + Math.exp(-1)) / 3, 12);
  });

  it('is 0 of nothing', () => {
    expect(samplingGap([])).toEqual({ mean: 0, p99: 0, max: 0, kl: 0 });
  });
});
