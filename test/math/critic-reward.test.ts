import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { criticReward, criticWeights } from '../../src/math/critic-reward.ts';

const share = fc.double({ min: 0, max: 1, noNaN: true });

describe('criticReward', () => {
  it('is 1 - (r - v)^2, averaged over the rewards of the state', () => {
    expect(criticReward(0.7, [1])).toBeCloseTo(0.91, 12);
    expect(criticReward(0.7, [1, 0])).toBeCloseTo((0.91 + 0.51) / 2, 12);
  });

  it('never gives a malformed completion more than a parsed one at its worst', () => {
    fc.assert(
      fc.property(share, fc.array(share, { minLength: 1 }), (value, rewards) => {
        expect(criticReward(null, rewards)).toBeLessThanOrEqual(criticReward(value, rewards));
      }),
    );
  });

  it('is largest at the mean of the rewards', () => {
    expect(criticReward(0.5, [1, 0])).toBeGreaterThan(criticReward(0.4, [1, 0]));
    expect(criticReward(0.5, [1, 0])).toBeGreaterThan(criticReward(0.6, [1, 0]));
  });
});

describe('criticWeights', () => {
  const rewards = [
    [0.9, 0.5],
    [0.1, 0.3],
  ];

  it('is the raw reward without a baseline (the paper)', () => {
    expect(criticWeights(rewards, 'none')).toEqual(rewards);
  });

  it('subtracts the mean of the other completions', () => {
    const weights = criticWeights([[0.9, 0.5, 0.1]], 'leave-one-out')[0]!;
    [0.9 - 0.3, 0.5 - 0.5, 0.1 - 0.7].forEach((expected, j) => {
      expect(weights[j]).toBeCloseTo(expected, 12);
    });
  });

  it('subtracts the mean of the batch', () => {
    const weights = criticWeights(rewards, 'batch-mean').flat();
    [0.45, 0.05, -0.35, -0.15].forEach((expected, j) => {
      expect(weights[j]).toBeCloseTo(expected, 12);
    });
  });

  it('refuses leave-one-out with a single completion', () => {
    expect(() => criticWeights([[1]], 'leave-one-out')).toThrow(
      'at least 2 completions per state; state 0 has 1',
    );
  });
});
