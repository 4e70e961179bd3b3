import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { learningRate, plateauRate } from '../../src/math/learning-rate.ts';
import { deriveSeed, Random, sequenceSeeds } from '../../src/math/random.ts';
import {
  explainedVariance,
  meanSquaredError,
  median,
  sampleDeviation,
  studentQuantile,
  variance,
} from '../../src/math/statistics.ts';
import { smoothSuccessRate } from '../../src/math/success-rate.ts';

describe('smoothSuccessRate', () => {
  it('starts at the first mean and then moves by 1 - m', () => {
    expect(smoothSuccessRate(null, [1, 0, 0, 0], 0.8)).toBe(0.25);
    expect(smoothSuccessRate(0.25, [1, 1], 0.8)).toBeCloseTo(0.8 * 0.25 + 0.2, 12);
  });
  it('refuses an empty batch and a momentum outside [0, 1)', () => {
    expect(() => smoothSuccessRate(0.5, [], 0.8)).toThrow('at least one reward');
    expect(() => smoothSuccessRate(0.5, [1], 1)).toThrow('outside [0, 1)');
  });
});

describe('learningRate', () => {
  const schedule = { peak: 1, decay: 'linear', warmup: 2, min_lr_ratio: 0.1 } as const;
  it('warms up from peak / n, and ends at the final share', () => {
    expect([0, 1, 2].map((step) => learningRate(schedule, step, 12))).toEqual([0.5, 1, 1]);
    expect(learningRate(schedule, 11, 12)).toBeCloseTo(0.1, 12);
  });
  it('is never 0: a decay to 0 gets there one step after the last', () => {
    const decay = fc.constantFrom('constant' as const, 'linear' as const, 'cosine' as const);
    const final = fc.constantFrom(0, 0.1, 1);
    fc.assert(
      fc.property(
        decay,
        final,
        fc.nat(20),
        fc.integer({ min: 1, max: 50 }),
        (d, f, warmup, total) => {
          const rates = Array.from({ length: total + 3 }, (_, step) =>
            learningRate({ peak: 1, decay: d, warmup, min_lr_ratio: f }, step, total),
          );
          for (const rate of rates) expect(rate).toBeGreaterThan(0);
        },
      ),
    );
    const toZero = { peak: 1, decay: 'linear', warmup: 0, min_lr_ratio: 0 } as const;
    expect([0, 1, 2, 3].map((step) => learningRate(toZero, step, 4))).toEqual([1, 0.75, 0.5, 0.25]);
  });
  it('is half way down at the middle of a cosine', () => {
    expect(learningRate({ ...schedule, decay: 'cosine' }, 2 + 5, 13)).toBeCloseTo(
      0.1 + 0.9 * 0.5,
      12,
    );
  });
});

describe('plateauRate', () => {
  it('warms up, stays, and falls from where it is told', () => {
    const schedule = { learning_rate: 1, warmup: 2, cooldown: 3, min_lr_ratio: 0.5 };
    const rates = Array.from({ length: 7 }, (_, step) => plateauRate(schedule, step, 4));
    expect(rates).toEqual([0.5, 1, 1, 1, 1, 0.75, 0.5]);
  });
  it('falls from where the warm-up was, if that was all', () => {
    const schedule = { learning_rate: 1, warmup: 50, cooldown: 3, min_lr_ratio: 0.5 };
    const rates = [8, 9, 10, 11, 12].map((step) => plateauRate(schedule, step, 10));
    expect(rates.map((rate) => rate.toFixed(3))).toEqual([
      '0.180',
      '0.200',
      '0.200',
      '0.150',
      '0.100',
    ]);
    expect(plateauRate({ ...schedule, warmup: 5 }, 0, 0)).toBe(1);
  });
});

describe('statistics', () => {
  it('computes what one computes by hand', () => {
    expect(variance([1, 2, 3])).toBeCloseTo(2 / 3, 12);
    expect(meanSquaredError([0, 1], [1, 1])).toBe(0.5);
    expect(median([3, 1, 2, 10])).toBe(2.5);
  });
  it('explains everything, nothing, or less than nothing', () => {
    expect(explainedVariance([0, 1], [0, 1])).toBe(1);
    expect(explainedVariance([0.5, 0.5], [0, 1])).toBe(0);
    expect(explainedVariance([1, 0], [0, 1])).toBe(-3);
    expect(explainedVariance([1, 0], [1, 1])).toBeNull();
    // An error that is the same everywhere counts: 1 - .16 / .25.
    expect(explainedVariance([0.4, 1.4], [0, 1])).toBeCloseTo(1 - 0.16 / 0.25, 12);
  });
  it('never finds anything explained by a constant', () => {
    const reward = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(reward, { minLength: 1, maxLength: 40 }),
        reward,
        (observed, constant) => {
          const explained = explainedVariance(
            observed.map(() => constant),
            observed,
          );
          if (explained !== null) expect(explained).toBeLessThan(1e-9);
        },
      ),
    );
  });
  it('has the deviation of a sample', () => {
    expect(sampleDeviation([1, 0])).toBeCloseTo(Math.SQRT1_2, 12);
    expect([sampleDeviation([]), sampleDeviation([3])]).toEqual([0, 0]);
  });
});

describe('random draws', () => {
  it('depend on seed, purpose and indices, and on nothing else', () => {
    expect(deriveSeed(1, 'actor', 2, 3)).toEqual(deriveSeed(1, 'actor', 2, 3));
    const others = [
      deriveSeed(2, 'actor', 2, 3),
      deriveSeed(1, 'critic', 2, 3),
      deriveSeed(1, 'actor', 3, 2),
      deriveSeed(1, 'actor', 2),
    ];
    for (const other of others) expect(other).not.toEqual(deriveSeed(1, 'actor', 2, 3));
  });
  it('do not collide over many indices', () => {
    const seeds = sequenceSeeds(20_000, (i) => deriveSeed(0, 'x', i));
    const words = new Set(
      Array.from({ length: 20_000 }, (_, i) => `${seeds[2 * i]} ${seeds[2 * i + 1]}`),
    );
    expect(words.size).toBe(20_000);
  });
  it('are uniform, normal and weighted as they say', () => {
    const random = new Random(deriveSeed(0, 'test'));
    const uniforms = Array.from({ length: 20_000 }, () => random.uniform());
    expect(uniforms.reduce((a, b) => a + b) / 20_000).toBeCloseTo(0.5, 2);
    expect(variance(uniforms)).toBeCloseTo(1 / 12, 2);
    expect(variance(Array.from({ length: 20_000 }, () => random.normal()))).toBeCloseTo(1, 1);
    const counts = [0, 0, 0];
    for (let i = 0; i < 20_000; i++) counts[random.weighted([1, 0, 3])]!++;
    expect(counts[1]).toBe(0);
    expect(counts[2]! / counts[0]!).toBeCloseTo(3, 0);
    expect(random.shuffled([1, 2, 3, 4]).sort()).toEqual([1, 2, 3, 4]);
  });
});

it('Student’s t has the quantiles of its tables', () => {
  const known = { 1: 12.706, 2: 4.303, 3: 3.182, 5: 2.571, 6: 2.447, 10: 2.228, 30: 2.042 };
  for (const [freedom, quantile] of Object.entries(known))
    expect(Math.abs(studentQuantile(Number(freedom)) - quantile)).toBeLessThan(0.002);
  expect(studentQuantile(1e6)).toBeCloseTo(1.96, 3);
});
