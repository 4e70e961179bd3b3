/** Figures of tables, from results by hand. */
import { mkdirSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { meanOver, resamplesOf } from '../../src/comparison/bootstrap.ts';
import type { Plot } from '../../src/reports/report-plots.ts';
import { costOfHalf, successAt } from '../../src/reproduction/curve.ts';
import { PhaseClock } from '../../src/reproduction/phase-clock.ts';
import {
  casesOf,
  cellText,
  csvOf,
  markdownOf,
  sentencesOf,
} from '../../src/reproduction/report.ts';
import { bestOf, scoreOf } from '../../src/reproduction/sweep.ts';
import {
  type Block,
  overSeeds,
  plain,
  plotsOverSeeds,
  valueIn,
} from '../../src/reproduction/table.ts';
import { passesOf, tokensOf } from '../../src/reproduction/tables/5-cost.ts';
import { curveOf, keepOnly } from '../../src/reproduction/work.ts';

const measured = (value: number, n = 10) => ({ value, low: value - 0.1, high: value + 0.1, n });
const block = (value: number): Block => ({
  ...{ title: 'error', columns: ['none', 'severe'], digits: 3 },
  rows: [
    { name: 'generative', cells: [measured(value), null] },
    { name: 'value-head', cells: [measured(2 * value), measured(0.5)] },
  ],
});

describe('over seeds', () => {
  it('one seed stays as it is', () => {
    expect(overSeeds([[block(0.2)]])).toEqual([block(0.2)]);
  });
  it('several are their mean, with an interval over seeds and all cases', () => {
    const [all] = overSeeds([[block(0.2)], [block(0.4)], [block(0.3)]]);
    const { value, low, high, n } = all!.rows[0]!.cells[0]!;
    expect(value).toBeCloseTo(0.3, 12);
    // Half of it is t(2) = 4.303 standard errors of .1 / sqrt(3).
    expect([low, high].map((one) => one.toFixed(3))).toEqual(['0.052', '0.548']);
    expect(n).toBe(30);
    expect(all!.rows[0]!.cells[1]).toBeNull();
    expect(valueIn(all!, 'value-head', 1)).toBe(0.5);
    expect(valueIn(all!, 'generative', 1)).toBeNaN();
  });
  it('a row that a seed lacks has no figure, and keeps its place', () => {
    const few = { ...block(0.3), rows: block(0.3).rows.slice(1) };
    const [all] = overSeeds([[few], [block(0.2)], [block(0.4)]]);
    expect(all!.rows.map(({ name }) => name)).toEqual(['generative', 'value-head']);
    expect(all!.rows[0]!.cells).toEqual([null, null]);
    expect(valueIn(all!, 'value-head', 0)).toBeCloseTo(0.6, 12);
  });
  it('two have no interval, and what is the same for all seeds has none', () => {
    const cellsOf = (blocks: readonly Block[]) => blocks[0]!.rows[1]!.cells;
    const two = cellsOf(overSeeds([[block(0.2)], [block(0.4)]]));
    expect([two[0]!.value.toFixed(2), two[0]!.low]).toEqual(['0.60', Number.NaN]);
    const three = cellsOf(overSeeds([[block(0.2)], [block(0.4)], [block(0.3)]]));
    expect([three[1]!.value, three[1]!.low]).toEqual([0.5, Number.NaN]);
  });
});

it('plots of several seeds are the means of their points, as many as every seed has', () => {
  const plot = (...points: (readonly [number, number])[]): Plot => ({
    ...{ title: 't', caption: '', x: 'x', y: 'y', share: false },
    series: [{ label: 'one', colour: 'blue', points }],
  });
  const [both] = plotsOverSeeds([
    [plot([0, 0.2], [10, 0.4])],
    [plot([0, 0.4], [14, 0.6], [20, 1])],
  ]);
  expect(both!.series[0]!.points.map(([x, y]) => [x, y.toFixed(2)])).toEqual([
    [0, '0.30'],
    [12, '0.50'],
  ]);
  expect(plotsOverSeeds([[], []])).toEqual([]);
});

it('a mean over problems counts each value once', () => {
  const { value, low, high, n } = meanOver(
    [[1, 1], [0]],
    resamplesOf([...Array(2).keys()], 500, 0),
  );
  expect(value).toBeCloseTo(2 / 3, 12);
  expect([low, high, n]).toEqual([0, 1, 3]);
  expect(meanOver([[1, 0]], resamplesOf([...Array(1).keys()], 100, 0)).low).toBeNaN();
});

describe('a curve', () => {
  const point = (iteration: number, success: number) => ({
    ...{ iteration, success, actor_tokens: 100 * iteration, all_tokens: 1000 * iteration },
    seconds: 2 * iteration,
  });
  const curve = [point(0, 0.1), point(10, 0.3), point(20, 0.7)];
  it('is read on the line between evaluations', () => {
    expect(successAt(curve, 'actor_tokens', 500)).toBeCloseTo(0.2, 12);
    expect(successAt(curve, 'seconds', 40)).toBeCloseTo(0.7, 12);
    expect(successAt(curve, 'all_tokens', 0)).toBeCloseTo(0.1, 12);
    expect(successAt(curve, 'all_tokens', 20_001)).toBeNaN();
    expect(costOfHalf(curve, 'actor_tokens')).toBeCloseTo(1500, 9);
    expect(costOfHalf(curve.slice(0, 2), 'seconds')).toBeNaN();
  });
  it('scores a setting by its mean success behind the start, and takes none that fails', () => {
    expect(scoreOf(curve)).toBeCloseTo(0.5, 12);
    const chosen = (responses: number, ...scores: readonly (readonly number[])[]) =>
      bestOf(
        scores.map((own, i) => ({ scores: own, setting: { lambda: i, learning_rate: 1 } })),
        responses,
      ).setting.lambda;
    expect(chosen(100, [0.2], [0.5], [0.4])).toBe(1);
    expect(chosen(100, [0.5], [0.2])).toBe(0);
    // The first of two that are as good.
    expect(chosen(100, [0.2], [0.5], [0.5])).toBe(1);
    // Better on average, and worse than the recipe's own on the second seed: two standard errors of
    // .4 and .3 among 1000 are .042.
    expect(chosen(1000, [0.2, 0.4], [0.9, 0.3], [0.3, 0.5])).toBe(2);
    expect(chosen(1000, [0.2, 0.4], [0.9, 0.37], [0.3, 0.5])).toBe(1);
    expect(chosen(100, [0.2, 0.4], [0.9, 0.3], [0.3, 0.5])).toBe(1);
  });
  it('counts what the actor sampled, and what a critic wrote or continued', () => {
    const place = { stage: 'joint', seconds: 1 } as const;
    const line = (iteration: number, metrics: object) => ({
      ...{ ...place, type: 'iteration' as const, iteration, 'actor/tokens': 10 },
      ...metrics,
    });
    const end = { ...place, type: 'evaluation' as const, iteration: 1, 'evaluation/success': 0.5 };
    const all = (metrics: object) => curveOf([line(0, metrics), end])[0]!.all_tokens;
    // A frozen critic writes, and updates on nothing.
    expect(all({ 'critic/tokens_written': 30 })).toBe(40);
    expect(all({ 'critic/actor_tokens': 50 })).toBe(60);
    expect(all({ 'critic/tokens': 30, 'critic/value_tokens_read': 30 })).toBe(10);
  });
});

it('phases are timed between their events, and an evaluation is none of an iteration', () => {
  const path = join(mkdtempSync(join(tmpdir(), 'genac-phases-')), 'phases.json');
  let clock = new PhaseClock(path);
  const phase = (name: string, now: number) =>
    clock.note({ type: 'phase', phase: name, stage: 'joint' }, now);
  for (const from of [0, 10_000]) {
    phase('sample', from);
    phase('value', from + 1000);
    phase('update', from + 4000);
    clock.note({ type: 'iteration', stage: 'joint' }, from + 6000);
    phase('evaluate', from + 6000);
  }
  clock.note({ type: 'phase', phase: 'value', stage: 'critic-rl' }, 50_000);
  const expected = { sample: 1, value: 3, update: 2 };
  expect(clock.perIteration()).toEqual(expected);
  // Another process goes on, or has nothing left to do.
  clock = new PhaseClock(path);
  expect(clock.perIteration()).toEqual(expected);
  clock.clear();
  expect(new PhaseClock(path).perIteration()).toEqual({});
});

describe('tokens of an iteration', () => {
  it('of a critic with words: its prompts are read, and read again with gradients', () => {
    const means = { 'actor/tokens': 100, 'critic/states': 8 };
    const words = { 'critic/tokens': 60, 'critic/tokens_written': 60, 'critic/mean_length': 6 };
    const tokens = tokensOf({ ...means, ...words }, { read: 20, shared: 5 });
    // 10 completions, each with a prompt of 20 tokens.
    expect(tokens).toEqual({ sampled: 100, read: 160, shared: 40, written: 60, trained: 260 });
    // 100 + 3 x 2 x 200 + 40 + 60 + 3 x 260
    expect(passesOf(tokens, 200, 2, true)).toBe(2180);
    expect(passesOf(tokens, 200, 2, false)).toBe(2300);
  });
  it('of a critic that is asked about some states, and learns from fewer', () => {
    const means = { 'actor/tokens': 100, 'critic/states': 8, 'critic/states_asked': 5 };
    const words = { 'critic/tokens': 12, 'critic/tokens_written': 30, 'critic/mean_length': 6 };
    const tokens = tokensOf({ ...means, ...words }, { read: 20, shared: 5 });
    expect(tokens).toEqual({ sampled: 100, read: 100, shared: 25, written: 30, trained: 52 });
  });
  it('of a value head: responses are read, and read again with gradients', () => {
    const read = { 'critic/value_tokens_read': 200, 'critic/tokens': 200 };
    const tokens = tokensOf({ 'actor/tokens': 100, ...read }, null);
    expect(tokens).toEqual({ sampled: 100, read: 200, shared: 200, written: 0, trained: 200 });
  });
  it('of continuations: they are written', () => {
    const written = { 'critic/actor_tokens': 900, 'critic/actor_tokens_read': 300 };
    const tokens = tokensOf({ 'actor/tokens': 100, ...written }, null);
    expect(tokens).toEqual({ sampled: 100, read: 300, shared: 300, written: 900, trained: 0 });
  });
});

describe('a report', () => {
  const table = {
    ...{ number: 3, title: 'Shift', paper: 'It is lower.', notes: ['Squared.'], reason: 'size' },
    ...{ blocks: [block(0.2), { ...block(1234), digits: 0 }], plots: [] },
    ...{ command: 'genac reproduce --tables 3', verdict: { seen: '.2', agrees: 'no' as const } },
  };
  const all = {
    ...{ genac: '0', size: 'full', seeds: [0], tables: [table], given: false },
    ...{ seconds: 60, missing: ['One.'] },
  };
  it('has every figure with its interval and n', () => {
    expect(cellText(measured(0.25), 3)).toBe('.250 [.150, .350]');
    expect(cellText(plain(7.126), 2)).toBe('7.13');
    expect(cellText(null, 3)).toBe('');
    expect(cellText(plain(Number.POSITIVE_INFINITY), 1)).toBe('not finite');
    expect(plain(undefined)).toBeNull();
    expect(casesOf(block(1))).toBe('n 10');
    expect(csvOf(all).split('\n')[1]).toMatch(/^3,error,generative,none,0.2,0.1,0.30*4?,10$/);
    expect(csvOf(all).trim().split('\n')).toHaveLength(7);
  });
  it('is one cell, whatever it is named by', () => {
    const [first, ...others] = table.blocks;
    const [row, ...rest] = first!.rows;
    const hostile = {
      ...first!,
      title: 'a<b>|c',
      rows: [{ ...row!, name: 'my|critic <i>' }, ...rest],
    };
    const text = markdownOf({ ...all, tables: [{ ...table, blocks: [hostile, ...others] }] });
    expect(text).toContain('a\\<b>\\|c');
    expect(text).toContain('| my\\|critic \\<i> | .200');
  });
  it('says what the paper says, what was seen, and why they differ', () => {
    expect(sentencesOf(table)).toEqual([
      ...['The paper: It is lower.', 'Seen here: .2.'],
      ...['They do not agree.', 'Most likely: size.'],
    ]);
    const agrees = { ...table, verdict: { seen: '.2', agrees: 'yes' as const } };
    expect(sentencesOf(agrees).slice(2)).toEqual(['They agree.']);
    const silent = { ...table, verdict: { seen: '.2', agrees: null } };
    expect(sentencesOf(silent)).toHaveLength(2);
    const text = markdownOf(all);
    expect(text).toContain('| generative | .200 [.100, .300] |  |');
    expect(text).toContain('Seeds: 0.');
    expect(text).toContain('- One.');
    expect(text).toContain('took 1 minutes of one core each');
    const given = markdownOf({ ...all, given: true, tables: [{ ...table, reason: null }] });
    expect(given).toContain('took 1 minutes, one after the other.');
    expect(given).not.toContain('Most likely');
  });
});

it('a lean part keeps the ends of stages, all checkpoints, or none', async () => {
  const names = ['critic-rl', 'joint', 'joint-000005'];
  const kept = async (keep: Parameters<typeof keepOnly>[1]) => {
    const run = mkdtempSync(join(tmpdir(), 'genac-lean-'));
    for (const name of names) mkdirSync(join(run, 'checkpoints', name), { recursive: true });
    await keepOnly(run, keep);
    return readdirSync(join(run, 'checkpoints')).sort();
  };
  expect(await kept('all')).toEqual(names);
  expect(await kept('ends')).toEqual(['critic-rl', 'joint']);
  expect(await kept('none')).toEqual([]);
});
