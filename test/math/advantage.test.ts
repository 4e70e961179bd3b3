import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  advantageDivisors,
  lengthAdaptiveLambdas,
  segmentAdvantages,
  tokenAdvantages,
} from '../../src/math/advantage.ts';

const values = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
  minLength: 1,
  maxLength: 12,
});
const share = fc.double({ min: 0, max: 1, noNaN: true });

describe('segmentAdvantages', () => {
  it('is what one computes by hand', () => {
    // V = .5, .4, .8; r = 1; gamma = 1, lambda = .5: d = -.1, .4, .2; A_2 = .2, A_1 = .4 + .5 x .2
    // = .5, A_0 = -.1 + .5 x .5 = .15
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

describe('lengthAdaptiveLambdas', () => {
  const cut = (...sizes: number[]) =>
    sizes.map((size, i) => {
      const start = sizes.slice(0, i).reduce((a, b) => a + b, 0);
      return { start, end: start + size };
    });

  it('is 1 - 1 / (alpha l) for each token, and its power for a segment', () => {
    // 100 tokens with alpha .05: .8 for each.
    const [first, second] = lengthAdaptiveLambdas(cut(1, 99), 0.05);
    expect(first).toBeCloseTo(0.8, 12);
    expect(second).toBeCloseTo(0.8 ** 99, 12);
  });

  it('is 0 for a response that is too short, and near 1 for a long one', () => {
    expect([...lengthAdaptiveLambdas(cut(3, 3), 0.05)]).toEqual([0, 0]);
    expect(lengthAdaptiveLambdas(cut(1, 99_999), 0.05)[0]).toBeCloseTo(1 - 1 / 5000, 12);
  });

  it('counts what follows a segment as the segment says', () => {
    // d = -.1, .4, .2 as above; A_1 = .4 + .25 x .2 = .45; A_0 = -.1 + .5 x .45 = .125
    const advantages = segmentAdvantages([0.5, 0.4, 0.8], 1, 1, [0.5, 0.25, 1]);
    [0.125, 0.45, 0.2].forEach((expected, k) => {
      expect(advantages[k]).toBeCloseTo(expected, 12);
    });
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

  it('is 0 where rounding alone is left', () => {
    // The mean of eight rewards of .1 differs from .1 by 1.4e-17.
    const rewards = new Array<number>(8).fill(0.1);
    const noise = 0.1 - rewards.reduce((sum, r) => sum + r, 0) / 8;
    expect(noise).not.toBe(0);
    expect([...tokenAdvantages([noise, 1e-9], segments, 5, null)].map(Math.sign)).toEqual([
      0, 0, 1, 1, 1,
    ]);
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
  const batch = [
    trajectory(0, 1, 1, 1),
    trajectory(0, 0, -1, -1),
    trajectory(1, 1, 0),
    trajectory(1, 1, 0),
  ];

  it('is the root mean square of all tokens, not centred', () => {
    // six values 1, 1, -1, -1, 0, 0: mean square 4/6
    expect(advantageDivisors('batch-std', batch)[0]).toBeCloseTo(Math.sqrt(4 / 6), 6);
    // -.9 seven times and -.8 once: mean square (7 x .81 + .64) / 8 = .78875
    const alike = [...Array.from({ length: 7 }, () => -0.9), -0.8].map((a) => trajectory(0, 0, a));
    expect(advantageDivisors('batch-std', alike)[0]).toBeCloseTo(Math.sqrt(0.78875), 6);
  });

  it('is one positive number for a batch, after which the mean square of the actor’s tokens is 1', () => {
    const finite = fc.float({ min: -1, max: 1, noNaN: true });
    const response = fc.array(fc.tuple(finite, fc.boolean()), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(response, { minLength: 1, maxLength: 8 }), (responses) => {
        const all = responses.map((tokens) => ({
          group: 0,
          reward: 0,
          advantages: Float32Array.from(tokens, ([a, own]) => (own ? a : 0)),
          actorMask: Uint8Array.from(tokens, ([, own]) => (own ? 1 : 0)),
        }));
        const divisors = advantageDivisors('batch-std', all);
        expect(new Set(divisors).size).toBe(1);
        const divisor = divisors[0]!;
        expect(divisor).toBeGreaterThan(0);
        const own = all.flatMap(({ advantages, actorMask }) =>
          [...advantages].filter((_, t) => actorMask[t] === 1),
        );
        const square =
          own.reduce((sum, a) => sum + (a / divisor) ** 2, 0) / Math.max(1, own.length);
        if (own.some((a) => Math.abs(a) > 1e-6)) expect(square).toBeCloseTo(1, 6);
        // The same tokens without the tools' between them.
        const bare = [{ group: 0, reward: 0, advantages: Float32Array.from(own), actorMask: null }];
        expect(advantageDivisors('batch-std', bare)[0]).toBeCloseTo(divisor, 12);
      }),
    );
  });

  it('is the same whether tokens of tools stand between or not', () => {
    const divisors = [0, 20, 60, 180].map((tools) => {
      const actorMask = Uint8Array.from({ length: 20 + tools }, (_, t) => (t < 20 ? 1 : 0));
      const advantages = (a: number) => Float32Array.from(actorMask, (own) => own * a);
      const two = [0.5, -0.5].map((a) => ({
        group: 0,
        reward: 0,
        advantages: advantages(a),
        actorMask,
      }));
      return advantageDivisors('batch-std', two)[0];
    });
    expect(divisors).toEqual([0.5, 0.5, 0.5, 0.5]);
  });

  it('does not amplify what rounding left', () => {
    const noise = [trajectory(0, 0.1, 1.4e-17), trajectory(0, 0.1, -1.4e-17)];
    expect([...advantageDivisors('batch-std', noise)]).toEqual([1, 1]);
    expect([...advantageDivisors('batch-std', [])]).toEqual([]);
  });

  it('is the sample deviation of the group’s rewards + 1e-4, as in TRL', () => {
    // rewards 1, 0: sample deviation sqrt(1/2); 1, 1: 0; one alone: 0
    const alone = trajectory(2, 1, 0);
    [Math.SQRT1_2 + 1e-4, Math.SQRT1_2 + 1e-4, 1e-4, 1e-4, 1e-4].forEach((expected, i) => {
      expect(advantageDivisors('group-std', [...batch, alone])[i]).toBeCloseTo(expected, 12);
    });
  });

  it('is 1 without a scale', () => {
    expect([...advantageDivisors('none', batch)]).toEqual([1, 1, 1, 1]);
  });
});
