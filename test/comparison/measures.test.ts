import { describe, expect, test } from 'vitest';
import {
  type Candidate,
  type JudgedState,
  type Judgement,
  measures,
  type Reference,
} from '../../src/comparison/measures.ts';
import { Random } from '../../src/math/random.ts';

const exact = (mean: number): Reference => ({ mean, square: mean, count: null });
const state = (
  value: number,
  reference: Reference,
  response: number | null = null,
  index = 0,
): JudgedState => ({ problem: 0, response, index, reference, value, parsed: true });

function figure(name: string, judgements: readonly Judgement[]): number {
  const measure = measures.find((one) => one.name === name)!;
  const rows = judgements.map((judgement) => measure.sums(judgement));
  const width = Math.max(...rows.map((row) => row.length));
  const total = new Float64Array(width);
  for (const row of rows) for (const [i, sum] of row.entries()) total[i]! += sum;
  return measure.of(total);
}
const of = (states: readonly JudgedState[], candidates: readonly Candidate[] = []) => [
  { states, candidates },
];

describe('against exact values', () => {
  const states = [state(0.5, exact(0.2)), state(0.5, exact(0.6)), state(1, exact(0.9))];

  test('mean squared error, bias, explained variance', () => {
    expect(figure('mse', of(states))).toBeCloseTo((0.09 + 0.01 + 0.01) / 3, 12);
    expect(figure('bias', of(states))).toBeCloseTo((0.3 - 0.1 + 0.1) / 3, 12);
    const mean = (0.2 + 0.6 + 0.9) / 3;
    const variance = (0.04 + 0.36 + 0.81) / 3 - mean ** 2;
    const error = (0.09 + 0.01 + 0.01) / 3;
    expect(figure('explained_variance', of(states))).toBeCloseTo(1 - error / variance, 12);
  });

  test('the Brier score is uncertainty, less resolution, plus reliability where bins hold one value', () => {
    const values = [0, 0.3, 0.3, 0.7, 1, 1];
    const truth = [0.1, 0.5, 0.2, 0.6, 0.9, 0.7];
    const all = values.map((value, i) => state(value, exact(truth[i]!)));
    const mean = truth.reduce((a, b) => a + b) / truth.length;
    const parts = figure('reliability', of(all)) - figure('resolution', of(all));
    // Of references within a bin the variance is a part of the uncertainty.
    expect(figure('brier', of(all))).toBeCloseTo(mean * (1 - mean) + parts, 12);
  });
});

test('the sampling variance of reference values is subtracted', () => {
  const random = new Random([1, 2]);
  const [count, truth] = [8, 0.3];
  const states = Array.from({ length: 40_000 }, () => {
    const rewards = Array.from({ length: count }, () => (random.uniform() < truth ? 1 : 0));
    const mean = rewards.reduce<number>((a, b) => a + b, 0) / count;
    return state(0.5, { mean, square: mean, count });
  });
  // The plain mean of (value - mean)^2 has p (1 - p) / 8 = .026 more.
  expect(figure('mse', of(states))).toBeCloseTo(0.04, 2);
  expect(figure('brier', of(states))).toBeCloseTo(0.04 + 0.3 * 0.7, 2);
});

test('of one outcome an error is not known, and the Brier score is', () => {
  const states = [state(0.25, { mean: 1, square: 1, count: 1 })];
  expect(figure('mse', of(states))).toBeNaN();
  expect(figure('brier', of(states))).toBeCloseTo(0.5625, 12);
});

describe('within a response', () => {
  const chain = (values: readonly number[], truth: readonly number[]) =>
    of(values.map((value, k) => state(value, exact(truth[k]!), k === 0 ? null : 0, k)));
  const truth = [0.6, 0.7, 0.1, 0.1];

  test('a constant offset is no error, a constant explains nothing', () => {
    const shifted = truth.map((value) => value + 0.2);
    expect(figure('within_response', chain(shifted, truth))).toBeCloseTo(1, 12);
    expect(figure('within_response', chain([0.4, 0.4, 0.4, 0.4], truth))).toBeCloseTo(0, 12);
  });

  test('the wrong step is the largest drop; equal drops share', () => {
    expect(figure('wrong_step', chain([0.5, 0.5, 0.3, 0.2], truth))).toBe(1);
    expect(figure('wrong_step', chain([0.5, 0.2, 0.2, 0.2], truth))).toBe(0);
    expect(figure('wrong_step', chain([0.5, 0.5, 0.5, 0.5], truth))).toBeCloseTo(1 / 3, 12);
    expect(figure('wrong_step', chain([0.5, 0.4], [0.5, 0.4]))).toBeNaN();
  });

  test('there is no wrong step of one valued state, or by chance', () => {
    // s_0 and s_3 alone: whatever the critic says, that would be its largest drop.
    const [first, last] = [state(0.1, exact(0.9)), state(0.9, exact(0.1), 0, 3)];
    expect(figure('wrong_step', of([first, last]))).toBeNaN();
    const between = state(0.5, exact(0.5), 0, 2);
    expect(figure('wrong_step', of([first, between, last]))).toBeNaN();
    // Of 8 continuations a drop of 3/8 is 1.5 of its standard errors; of 256 it is 8.
    const drop = (count: number) =>
      of(
        [0.5, 0.5, 0.125].map((mean, k) =>
          state(1 - k / 10, { mean, square: mean, count }, k === 0 ? null : 0, k),
        ),
      );
    expect(figure('wrong_step', drop(8))).toBeNaN();
    expect(figure('wrong_step', drop(256))).toBe(0.5);
  });

  test('no step is told from the outcome of one response, which drops behind s_0 wherever it fails', () => {
    const failed: Reference = { mean: 0, square: 0, count: 1 };
    const group: Reference = { mean: 0.5, square: 0.5, count: 4 };
    const states = [state(0.5, group), state(0.2, failed, 0, 1), state(0.1, failed, 0, 2)];
    expect(figure('wrong_step', of(states))).toBeNaN();
  });
});

test('states that were not valued count against the parse rate alone', () => {
  const states = [state(0.5, exact(0.5)), { ...state(0.5, exact(0.5)), parsed: false }];
  expect(figure('parse_rate', of(states))).toBe(0.5);
});

test('top-1 is a mean over problems that have such a pool', () => {
  const whole = (value: number, right: boolean) => ({ problem: 0, value, right });
  const good = { states: [], candidates: [whole(0.9, true), whole(0.1, false)] };
  const bad = { states: [], candidates: [whole(0.1, true), whole(0.9, false)] };
  const none = { states: [], candidates: [whole(0.1, false), whole(0.9, false)] };
  expect(figure('top1_of_2', [good, bad, none])).toBe(0.5);
  expect(figure('top1_of_4', [good, bad, none])).toBeNaN();
});
