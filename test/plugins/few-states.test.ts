/** Values of all states from answers for a share of them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { areOfOneEach, BLIND, valueFew } from '../../plugins/critics/few-states/few-states.ts';
import { allStatesOfRollouts } from '../../src/iteration/rollout-states.ts';
import { Random } from '../../src/math/random.ts';
import { firstState, segmentState } from '../../src/state.ts';
import type { State, Valuation } from '../../src/types.ts';
import { rewardedTrajectory } from '../fixtures/trajectories.ts';

const actor = { name: 'a', parameters: 1, successRate: 0.5 };

/** Groups of responses with so many segments each; s_0 is the group's. */
function batch(groups: readonly (readonly number[])[]): State[] {
  let trajectory = 0;
  return groups.flatMap((lengths, group) => {
    const of = { ...rewardedTrajectory(0, 'a', 1), group };
    const rest = lengths.flatMap((length) => {
      const number = trajectory++;
      return Array.from({ length: length - 1 }, (_, k) =>
        segmentState(of, number, { start: 0, end: 1 } as never, k + 1, actor),
      );
    });
    return [firstState(of.problem, null, group, actor), ...rest];
  });
}

const groups = fc.array(fc.array(fc.integer({ min: 1, max: 17 }), { minLength: 1, maxLength: 4 }), {
  minLength: 1,
  maxLength: 4,
});
const share = fc.double({ min: 0.05, max: 1, noNaN: true });

/** Draws by the state's name, and values by a rule; notes what was asked. */
function asking(rule: (state: State) => number) {
  const asked: string[] = [];
  const draw = ({ id }: State) =>
    new Random([[...id].reduce((sum, c) => 31 * sum + c.charCodeAt(0), 7), 1]).uniform();
  const ask = async (some: readonly State[]): Promise<Valuation[]> => {
    for (const { id } of some) asked.push(id);
    return some.map((state) => ({
      value: rule(state),
      ...{ rationale: 'r', parsed: 'ok', completions: [] },
    }));
  };
  return { asked, draw, ask };
}

const noise = (seed: number) => (state: State) =>
  new Random([seed, [...state.id].reduce((sum, c) => 17 * sum + c.charCodeAt(0), 3)]).uniform();

/** What is asked whatever the values are. */
function needed(states: readonly State[], share: number, draw: (state: State) => number): number {
  const last = new Map<number, State>();
  for (const state of states) if (state.trajectory !== null) last.set(state.trajectory, state);
  return states.filter(
    (state) =>
      state.trajectory === null ||
      last.get(state.trajectory) === state ||
      draw(state) < BLIND * share,
  ).length;
}

describe('valueFew', () => {
  it('asks about no state twice, and about no more than the share where the ends leave room', () =>
    fc.assert(
      fc.asyncProperty(groups, share, fc.nat(), async (shape, part, seed) => {
        const states = batch(shape);
        const { asked, draw, ask } = asking(noise(seed));
        const values = await valueFew(states, part, draw, ask);
        expect(values).toHaveLength(states.length);
        expect(new Set(asked).size).toBe(asked.length);
        const most = Math.max(Math.round(part * states.length), needed(states, part, draw));
        if (!areOfOneEach(states)) expect(asked.length).toBeLessThanOrEqual(most);
        for (const [s, state] of states.entries())
          if (asked.includes(state.id)) expect(values[s]!.value).toBe(noise(seed)(state));
      }),
    ));

  it('lets nothing that came after a state decide whether the critic learns from it', () =>
    fc.assert(
      fc.asyncProperty(groups, share, fc.nat(), fc.nat(), async (shape, part, one, other) => {
        const states = batch(shape);
        const fair = async (seed: number) => {
          const { draw, ask } = asking(noise(seed));
          const values = await valueFew(states, part, draw, ask);
          return values.map(({ hindsight }) => hindsight !== true);
        };
        expect(await fair(one)).toEqual(await fair(other));
      }),
    ));

  it('learns from first states, also where each response has its own (stage 2)', async () => {
    const problem = { id: 'p', prompt: 'x', columns: {} };
    const prefixes = ['', 'a', 'a b', 'a b c', 'a b c d', 'a b c d e'];
    for (const firstUnedited of [0, 2]) {
      const rollout = { problem, actor, prefixes, response: 'a', firstUnedited, reward: 1 };
      const states = allStatesOfRollouts(new Array(16).fill(rollout), 'critic-rl', 0).map(
        ({ state }) => state,
      );
      const { ask } = asking(noise(3));
      const values = await valueFew(states, 0.6, () => 0.99, ask);
      const fair = states.filter((_, s) => !values[s]!.hindsight);
      expect(fair.map(({ index }) => index)).toEqual(new Array(16).fill(firstUnedited));
    }
  });

  it('puts the others on the line between their neighbours', async () => {
    const states = batch([[9, 9]]);
    const { asked, draw, ask } = asking(({ index }) => 0.1 + 0.05 * index);
    const values = await valueFew(states, 0.3, draw, ask);
    expect(asked.length).toBeLessThan(9);
    for (const [s, { value }] of values.entries())
      expect(value).toBeCloseTo(0.1 + 0.05 * states[s]!.index, 12);
    const between = values.filter(({ rationale }) => rationale === '');
    expect(between.length).toBe(states.length - asked.length);
    expect(
      between.every(({ hindsight, completions }) => hindsight && completions.length === 0),
    ).toBe(true);
  });

  it('finds the step at which a value falls, by halves', async () => {
    for (let step = 1; step < 17; step++) {
      const states = batch([[17]]);
      const { asked, ask } = asking(({ index }) => (index < step ? 0.7 : 0));
      const values = await valueFew(states, 0.4, () => 0.99, ask);
      expect(values.map(({ value }) => value)).toEqual(
        states.map(({ index }) => (index < step ? 0.7 : 0)),
      );
      expect(asked.length).toBeLessThanOrEqual(2 + 4);
    }
  });

  it('asks about all of a batch with one state of each response, which are all fair', async () => {
    const states = batch([[9, 9, 9], [9]]).filter(({ index }) => index === 4);
    const { asked, draw, ask } = asking(noise(1));
    const values = await valueFew(states, 0.1, draw, ask);
    expect(asked).toHaveLength(4);
    expect(values.some(({ hindsight }) => hindsight)).toBe(false);
  });

  it('values a batch of more responses than a call may have arguments', async () => {
    const states = batch([[3, ...Array<number>(130_000).fill(2)]]);
    const { draw, ask } = asking(() => 0.5);
    expect(await valueFew(states, 0.5, draw, ask)).toHaveLength(130_003);
  });

  it('asks where the value jumps most, first', async () => {
    const states = batch([[9, 9]]);
    const jumps = ({ trajectory, index }: State) =>
      trajectory === 1 && index > 5 ? 0.9 : trajectory === 0 && index > 5 ? 0.2 : 0.1;
    const { asked, ask } = asking(jumps);
    await valueFew(states, 6 / 17, () => 0.99, ask);
    const between = asked.filter((id) => !/^g|\.8$/.test(id));
    expect(between.length).toBe(3);
    expect(between.every((id) => id.startsWith('t1.'))).toBe(true);
  });
});
