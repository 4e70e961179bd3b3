import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { advantageDivisors, segmentAdvantages, tokenAdvantages } from '../../src/math/advantage.ts';

const values = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 12 });
const share = fc.double({ min: 0, max: 1, noNaN: true });

describe('segmentAdvantages', () => {
  it('is what one computes by hand', () => {
    // V = .5, .4, .8; r = 1; gamma = 1, lambda = .5: d = -.1, .4, .2; A_2 = .2, A_1 = .4 + .5 x .2 = .5, A_0 = -.1 + .5 x .5 = .15
    const advantages = segmentAdvantages([0.5, 0.4, 0.8], 1, 1, 0.5);
    [0.15, 0.5, 0.2].forEach((expected, k) => {
      expect(advantages[k]).toBeCloseTo(expected, 12);
    });
  });

  it('discounts the next value: gamma = .9, lambda = 0', () => {
    // d_0 = .9 x .4 - .5 = -.14; d_1 = r - .4 = -.4
    const advantages = segmentAdvantages([0.5, 0.4], 0, 0.9, 0);
    expect(advantages[0]).toBeCloseTo(-0.14, 12);
    expect(advantages[1]).toBeCloseTo(-0.4, 12);
  });

  it('telescopes to r - V(s_k) with gamma = lambda = 1', () => {
    fc.assert(
      fc.property(values, share, (v, r) => {
        segmentAdvantages(v, r, 1, 1).forEach((advantage, k) => {
          expect(advantage).toBeCloseTo(r - v[k]!, 9);
        });
      }),
    );
  });

  it('has one-step advantages that sum to r - V(s_0) with gamma = 1, lambda = 0', () => {
    fc.assert(
      fc.property(values, share, (v, r) => {
        const sum = segmentAdvantages(v, r, 1, 0).reduce((a, b) => a + b, 0);
        expect(sum).toBeCloseTo(r - v[0]!, 9);
      }),
    );
  });
});

describe('tokenAdvantages', () => {
  const segments = [
    { start: 0, end: 2 },
    { start: 2, end: 5 },
  ];

  it('gives every token of a segment its advantage', () => {
    expect([...tokenAdvantages([1, -2], segments, 6, null)]).toEqual([1, 1, -2, -2, -2, 0]);
  });

  it('gives nothing to tokens that the actor did not write', () => {
    const written = Uint8Array.from([1, 0, 1, 0, 1, 1]);
    expect([...tokenAdvantages([1, -2], segments, 6, written)]).toEqual([1, 0, -2, 0, -2, 0]);
  });

  it('keeps the sum over segments across a gap of environment tokens', () => {
    const v = [0.3, 0.9, 0.5];
    const gap = [
      { start: 0, end: 2 },
      { start: 4, end: 5 },
      { start: 5, end: 6 },
    ];
    const perToken = tokenAdvantages(segmentAdvantages(v, 1, 1, 0), gap, 6, null);
    expect(perToken[0]! + perToken[4]! + perToken[5]!).toBeCloseTo(1 - 0.3, 6);
    expect([perToken[2], perToken[3]]).toEqual([0, 0]);
  });
});

describe('advantageDivisors', () => {
  const trajectory = (group: number, reward: number, ...advantages: number[]) => ({
    group,
    reward,
    advantages: Float32Array.from(advantages),
  });
  const batch = [trajectory(0, 1, 1, 1), trajectory(0, 0, -1, -1), trajectory(1, 1, 0), trajectory(1, 1, 0)];

  it('is the deviation of all tokens, not centred', () => {
    // six values 1, 1, -1, -1, 0, 0: variance 4/6
    expect(advantageDivisors('batch-std', batch)[0]).toBeCloseTo(Math.sqrt(4 / 6), 6);
  });

  it('is the deviation of the group rewards, or 1 where they do not differ', () => {
    expect([...advantageDivisors('group-std', batch)]).toEqual([0.5, 0.5, 1, 1]);
  });

  it('is 1 without a scale', () => {
    expect([...advantageDivisors('none', batch)]).toEqual([1, 1, 1, 1]);
  });
});
