import { expect, test } from 'vitest';
import { Measurement, meanOver, resamplesOf } from '../../src/comparison/bootstrap.ts';
import type { Judgement } from '../../src/comparison/measures.ts';
import { Random } from '../../src/math/random.ts';

const judged = (errors: readonly number[]): Judgement[] =>
  errors.map((error, problem) => ({
    candidates: [],
    states: [0.2, 0.6].map((mean, index) => ({
      ...{ problem, response: null, index, parsed: true, value: mean + error },
      reference: { mean, square: mean, count: null },
    })),
  }));

test('an interval of a mean is as wide as the normal one', () => {
  const random = new Random([1, 1]);
  const errors = Array.from({ length: 200 }, () => 0.1 * random.normal());
  const { figures } = new Measurement(judged(errors), resamplesOf([...Array(200).keys()], 4000, 0));
  const bias = figures.get('bias')!;
  const mean = errors.reduce((a, b) => a + b) / 200;
  const deviation = Math.sqrt(errors.reduce((a, b) => a + (b - mean) ** 2, 0) / 200);
  expect(bias.value).toBeCloseTo(mean, 10);
  expect(bias.n).toBe(400);
  const half = (1.96 * deviation) / Math.sqrt(200);
  expect(bias.low).toBeCloseTo(mean - half, 2);
  expect(bias.high).toBeCloseTo(mean + half, 2);
});

test('a paired difference knows that two critics err on the same problems', () => {
  const random = new Random([1, 2]);
  const errors = Array.from({ length: 100 }, () => 0.1 * random.normal());
  const resamples = resamplesOf([...Array(100).keys()], 1000, 0);
  const first = new Measurement(judged(errors), resamples);
  const second = new Measurement(judged(errors.map((error) => error + 0.01)), resamples);
  const { value, low, high } = second.less(first, 'bias')!;
  for (const one of [value, low, high]) expect(one).toBeCloseTo(0.01, 10);
  const { low: own, high: top } = first.figures.get('bias')!;
  expect(top - own).toBeGreaterThan(0.02);
});

test('a measure that the states do not tell has no figure', () => {
  const { figures } = new Measurement(
    judged([0.1, 0.2]),
    resamplesOf([...Array(2).keys()], 100, 0),
  );
  expect(figures.has('top1_of_2')).toBe(false);
  expect(figures.get('mse')!.value).toBeCloseTo((0.01 + 0.04) / 2, 12);
});

test('of a single problem there is a figure and no interval, and no interval of a difference', () => {
  const one = new Measurement(judged([0.1]), resamplesOf([...Array(1).keys()], 100, 0));
  expect(one.figures.get('bias')).toMatchObject({ n: 2, low: Number.NaN, high: Number.NaN });
  expect(one.figures.get('bias')!.value).toBeCloseTo(0.1, 12);
  expect(one.less(one, 'bias')).toEqual({ value: 0, low: Number.NaN, high: Number.NaN });
});

test('only problems with a case of the measure count for its interval', () => {
  const candidates = [0.9, 0.1].map((value) => ({ problem: 0, value, right: value > 0.5 }));
  const judgements = judged([0.1, 0.2, 0.3]).map((one, i) =>
    i === 0 ? { ...one, candidates } : one,
  );
  const { figures } = new Measurement(judgements, resamplesOf([...Array(3).keys()], 100, 0));
  expect(figures.get('top1_of_2')).toEqual({ value: 1, low: Number.NaN, high: Number.NaN, n: 1 });
  expect(figures.get('mse')!.low).toBeGreaterThan(0);
});

test('a problem that many actors answered is drawn as one', () => {
  // Half of the problems are easy for all of 25 actors.
  const random = new Random([5, 5]);
  let covered = 0;
  const tries = 200;
  for (let i = 0; i < tries; i++) {
    const levels = Array.from({ length: 12 }, () => (random.uniform() < 0.5 ? 0.1 : 0.9));
    const names = levels.flatMap((_, p) => new Array<string>(25).fill(`p${p}`));
    const values = levels.flatMap((level) => Array.from({ length: 25 }, () => [level]));
    const { low, high } = meanOver(values, resamplesOf(names, 200, i));
    if (low <= 0.5 && 0.5 <= high) covered++;
  }
  expect(covered / tries).toBeGreaterThan(0.85);
  const one = meanOver([[0.2], [0.4]], resamplesOf(['p', 'p'], 100, 0));
  expect(one).toMatchObject({ low: Number.NaN, high: Number.NaN });
  expect(one.value).toBeCloseTo(0.3, 12);
});
