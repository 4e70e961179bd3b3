/**
 * Several critics as one: means, a cascade that asks about the states that decide, own learning.
 */
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mostChanged } from '../../plugins/critics/ensemble/changed.ts';
import ensemble from '../../plugins/critics/ensemble.ts';
import { createCritic } from '../../src/checked-critic.ts';
import { segmentTrajectory } from '../../src/credit.ts';
import { criticEnvironment } from '../../src/extensions/critic-environment.ts';
import { startRun } from '../../src/run/run.ts';
import { paperFormat } from '../../src/text/critic-prompt.ts';
import type { State, Valuation } from '../../src/types.ts';
import { criticConformance } from '../conformance/critic.ts';
import { rewardedTrajectory } from '../fixtures/trajectories.ts';

const context = { purpose: 'test', iteration: 0 };
const actor = { name: 'a', parameters: 1, successRate: 0.5 };
const rule = { by: 'tokens', tokens: 1, max_segments: 9, min_tokens: 1, budget: null } as const;
const own = join(import.meta.dirname, '../fixtures/table-critic.ts');
const part = (value: number, more: object = {}) => ({ use: own, value, ...more });

async function make(given: object) {
  const environment = criticEnvironment({
    ...{ seed: 0, format: paperFormat, log: () => {}, signal: new AbortController().signal },
    runFolder: mkdtempSync(join(tmpdir(), 'genac-ensemble-')),
    worker: () => Promise.reject(new Error('no worker')) as never,
  });
  return createCritic(ensemble, ensemble.options.parse(given), environment);
}

criticConformance('ensemble', {
  make: () => make({ critics: [part(0.2), part(0.6)] }),
  problems: [{ id: 'p', prompt: 'say a word', columns: {} }],
  responses: ['', 'it is', 'it is good'],
});

const statesOf = (text: string): readonly State[] =>
  segmentTrajectory(rewardedTrajectory(0, text, 1), 0, rule, actor).states;

it('has the mean of its critics, without those that said nothing', async () => {
  const three = await make({ critics: [part(0.2), part(0.6), part(0.9, { silent: true })] });
  const [valuation] = await three.value(statesOf('a'), context);
  expect(valuation).toMatchObject({ value: expect.closeTo(0.4, 12), parsed: 'ok' });
  const none = await make({ critics: [part(0.2, { silent: true }), part(0.6, { silent: true })] });
  const [nothing] = await none.value(statesOf('a'), context);
  expect(nothing).toMatchObject({ value: 0.2, parsed: 'malformed' });
});

it('inherits a value where all of its critics do, and by cascade takes none that is inherited', async () => {
  const old = part(0.2, { inherits: true });
  const inherited = async (critics: object[], more: object = {}) => {
    const values = await (await make({ critics, ...more })).value(statesOf('a b c'), context);
    return values.map((one) => [one.inherited ?? false, one.value]);
  };
  expect(await inherited([old, old])).toEqual([
    [false, 0.2],
    [true, 0.2],
    [true, 0.2],
  ]);
  expect((await inherited([old, part(0.6)])).map(([is]) => is)).toEqual([false, false, false]);
  expect(await inherited([part(0.6), old], { by: 'cascade', share: 1 })).toEqual([
    [false, 0.2],
    [false, 0.6],
    [false, 0.6],
  ]);
  // Where neither was asked, it keeps to what the ensemble said last.
  const neither = await inherited([old, part(0.9)], { by: 'cascade', share: 0.5 });
  expect(neither).toEqual([
    [false, 0.2],
    [false, 0.9],
    [true, 0.9],
  ]);
});

describe('a cascade', () => {
  // The first critic reads the number that a state ends with.
  const reads = { use: own, reads: true };

  it('asks the further critics about the states at which the value changed most', async () => {
    const critic = await make({ critics: [reads, part(0.5)], by: 'cascade', share: 0.5 });
    const responses = ['1 1 9 9 9', '1 1 1 1 9'];
    const cut = responses.map((text, i) =>
      segmentTrajectory(rewardedTrajectory(0, text, 1), i, rule, actor),
    );
    const states = [cut[0]!.states[0]!, ...cut.flatMap((one) => one.states.slice(1))];
    const reported: object[] = [];
    const report = (metrics: object) => void reported.push(metrics);
    const values = await critic.value(states, { ...context, report });
    // Behind the first state, one of two in each round: at '1 1 9' the value rose to .9. At '1 1 9
    // 9' and '1 1 1 1' it stayed, as at '1': there the draw decides.
    const asked = states.filter((_, s) => values[s]!.value === 0.5).map(({ id }) => id);
    expect(asked).toContain('t0.3');
    expect(asked.filter((id) => id.endsWith('.4'))).toHaveLength(1);
    expect(reported).toContainEqual({ states_of_further_critics: 4 });
    expect(reported).toContainEqual({ 'part-1/asked': 4 });
  });

  it('learns from all that it asks about, which nothing that comes after decides', async () => {
    const asked = async (after: string) => {
      const critics = [reads, part(0.95, { learns: true })];
      const critic = await make({ critics, by: 'cascade', share: 0.5 });
      const cut = [...Array(12).keys()].map((i) =>
        segmentTrajectory(rewardedTrajectory(0, `1 2 ${i % 3} ${after}`, 1), i, rule, actor),
      );
      const states = [cut[0]!.states[0]!, ...cut.flatMap((one) => one.states.slice(1))];
      const valuations = await critic.value(states, context);
      const learned: string[] = [];
      for (const [s, state] of states.entries()) {
        const outcomes = [{ state, valuation: valuations[s]!, rewards: [1] }];
        const metrics = await critic.learn!(outcomes, { learningRate: 0.1, maxGradNorm: null });
        if (metrics['part-1/learned']) learned.push(state.id);
      }
      const dear = states.filter((_, s) => valuations[s]!.value === 0.95).map(({ id }) => id);
      expect(learned).toEqual(dear);
      const early = (id: string) => !(Number(id.split('.')[1]) > 3);
      return { early: dear.filter(early), late: dear.filter((id) => !early(id)) };
    };
    const [right, wrong] = [await asked('9 9 9 9'), await asked('1 2 1')];
    expect(right.early).toEqual(wrong.early);
    expect(right.early.length).toBeGreaterThan(12);
    expect(right.late).not.toEqual(wrong.late);
  });

  it('asks first where there is no valid estimate', () => {
    const states = statesOf('1 1 9 9 9');
    const valuation = (parsed: Valuation['parsed']): Valuation => ({
      ...{ value: 0.5, rationale: '', completions: [], parsed },
    });
    const said = states.map((_, s) => valuation(s === 1 ? 'malformed' : 'ok'));
    const draw = () => 0.5;
    expect(mostChanged([states[0]!, states[1]!], said, 0.5, draw)).toEqual([1]);
    expect(mostChanged(states, said, 1, draw)).toEqual([0, 1, 2, 3, 4]);
  });
});

it('lets each critic learn from its own estimates, of the states that it was asked about', async () => {
  const critics = [part(0.2, { learns: true }), part(0.6), part(0.9, { learns: true })];
  const critic = await make({ critics });
  const states = statesOf('a b');
  const valuations = await critic.value(states, context);
  const outcomes = states.map((state, s) => ({ state, valuation: valuations[s]!, rewards: [1] }));
  const metrics = await critic.learn!(outcomes, { learningRate: 0.1, maxGradNorm: null });
  expect(metrics).toEqual({
    ...{
      'part-0/mean_value': expect.closeTo(0.2, 12),
      'part-0/learned': 2,
      'part-0/mean_reward': 1,
    },
    ...{
      'part-2/mean_value': expect.closeTo(0.9, 12),
      'part-2/learned': 2,
      'part-2/mean_reward': 1,
    },
  });
});

it('says which part wrote a completion, also of a part of a part', async () => {
  const writes = part(0.5, { writes: true });
  const inner = { use: 'ensemble', critics: [part(0.5), writes] };
  const critic = await make({ critics: [writes, inner] });
  const [valuation] = await critic.value(statesOf('a'), context);
  expect(valuation!.completions.map(({ part }) => part)).toEqual(['part-0', 'part-1/part-1']);
});

it('can’t have a part whose values come from the rewards of the group', async () => {
  await expect(make({ critics: [part(0.2), 'group-mean'] })).rejects.toThrow(
    'can\'t have the part "group-mean"',
  );
});

it('is refused before anything starts where the options of a part are not valid', async () => {
  const folder = join(mkdtempSync(join(tmpdir(), 'genac-ensemble-')), 'run');
  const critic = { use: 'ensemble', critics: [{ use: 'value-head' }, { use: 'value-hed' }] };
  const run = startRun({
    ...{ folder, stages: ['joint'], task: 'miniature', critic, actor: { model: 'task:blank' } },
  });
  await expect(run.finished).rejects.toThrow(/critic.*model|value-hed/);
  expect(existsSync(folder)).toBe(false);
});
