import { describe, expect, it } from 'vitest';
import { learningRate, plateauRate } from '../../src/math/learning-rate.ts';
import { deriveSeed, Random, sequenceSeeds } from '../../src/math/random.ts';
import { explainedVariance, meanSquaredError, median, variance } from '../../src/math/statistics.ts';
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
  const schedule = { peak: 1, decay: 'linear', warmup: 2, final: 0.1 } as const;
  it('warms up from peak / n, and ends at the final share', () => {
    expect([0, 1, 2].map((step) => learningRate(schedule, step, 12))).toEqual([0.5, 1, 1]);
    expect(learningRate(schedule, 11, 12)).toBeCloseTo(0.1, 12);
  });
  it('is half way down at the middle of a cosine', () => {
    expect(learningRate({ ...schedule, decay: 'cosine' }, 2 + 5, 13)).toBeCloseTo(0.1 + 0.9 * 0.5, 12);
  });
});

describe('plateauRate', () => {
  it('warms up, stays, and falls from where it is told', () => {
    const schedule = { learning_rate: 1, warmup: 2, cooldown: 3, final: 0.5 };
    const rates = Array.from({ length: 7 }, (_, step) => plateauRate(schedule, step, 4));
    expect(rates).toEqual([0.5, 1, 1, 1, 1, 0.75, 0.5]);
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
    const words = new Set(Array.from({ length: 20_000 }, (_, i) => `${seeds[2 * i]} ${seeds[2 * i + 1]}`));
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
