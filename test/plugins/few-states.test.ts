/** Values of all states from answers for a share of them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { valueFew } from '../../plugins/critics/few-states/few-states.ts';
import { allStatesOfRollouts, statesOfRollouts } from '../../src/iteration/rollout-states.ts';
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

describe('valueFew', () => {
  it('asks about each first state, and about so many of the others as the share says', () =>
    fc.assert(
      fc.asyncProperty(groups, share, fc.nat(), async (shape, part, seed) => {
        const states = batch(shape);
        const { asked, draw, ask } = asking(noise(seed));
        const values = await valueFew(states, part, draw, ask);
        expect(values).toHaveLength(states.length);
        expect(new Set(asked).size).toBe(asked.length);
        const firsts = states.filter(({ trajectory }) => trajectory === null);
        for (const { id } of firsts) expect(asked).toContain(id);
        const most = firsts.length + part * (states.length - firsts.length);
        expect(asked.length).toBe(Math.floor(most + 1e-9));
      }),
    ));

  it('has the critic’s value where it was asked, and elsewhere that of the last one before', () =>
    fc.assert(
      fc.asyncProperty(groups, share, fc.nat(), async (shape, part, seed) => {
        const states = batch(shape);
        const { asked, draw, ask } = asking(noise(seed));
        const values = await valueFew(states, part, draw, ask);
        for (const [s, state] of states.entries()) {
          const { index, group, trajectory } = state;
          const source = states
            .filter((t) => asked.includes(t.id) && t.group === group && t.index <= index)
            .filter((t) => t.trajectory === trajectory || t.trajectory === null)
            .sort((a, b) => b.index - a.index)[0]!;
          expect(values[s]!.value).toBe(noise(seed)(source));
          expect(values[s]!.inherited ?? false).toBe(source.id !== state.id);
          if (source.id !== state.id) expect(values[s]!.completions).toEqual([]);
        }
      }),
    ));

  it('lets nothing that came after a state decide its value', () =>
    fc.assert(
      fc.asyncProperty(groups, share, fc.nat(), fc.nat(), async (shape, part, seed, from) => {
        const states = batch(shape);
        const at = from % 17;
        const valued = async (some: readonly State[], later: number) => {
          const rule = (state: State) => noise(state.index < at ? seed : later)(state);
          const { draw, ask } = asking(rule);
          const values = await valueFew(some, part, draw, ask);
          return some.flatMap(({ id, index }, s) => (index < at ? [[id, values[s]]] : []));
        };
        const before = await valued(states, seed);
        expect(await valued(states, seed + 1)).toEqual(before);
        // Responses that ended there are worth the same too.
        expect(
          await valued(
            states.filter(({ index }) => index < at),
            seed,
          ),
        ).toEqual(before);
      }),
    ));

  it('asks about all states that stand by themselves', async () => {
    const problem = { id: 'p', prompt: 'x', columns: {} };
    const prefixes = ['', 'a', 'a b', 'a b c', 'a b c d', 'a b c d e'];
    const rollout = { problem, actor, prefixes, response: 'a', firstUnedited: 2, reward: 1 };
    const { asked, draw, ask } = asking(noise(3));
    const rollouts = new Array(16).fill(rollout);
    const lone = statesOfRollouts(rollouts, 1, 'critic-rl', 0).map(({ state }) => state);
    await valueFew(lone, 0.1, draw, ask);
    expect(asked).toEqual(lone.map(({ id }) => id));
    // Of a response with all its states, the first one that the actor alone led to.
    asked.splice(0);
    const states = allStatesOfRollouts(rollouts, 'critic-rl', 0).map(({ state }) => state);
    await valueFew(states, 0.1, draw, ask);
    const firsts = states.filter(({ index }) => index === 2).map(({ id }) => id);
    expect(firsts).toHaveLength(16);
    expect(asked).toEqual(expect.arrayContaining(firsts));
  });

  it('asks first where a value may have changed most', async () => {
    const states = batch([[9, 9, 9]]);
    const rule = ({ index, trajectory }: State) => (index === 0 ? 0.5 : trajectory === 0 ? 0.5 : 0);
    const { asked, ask } = asking(rule);
    await valueFew(states, 2 / 3, () => 0.5, ask);
    const count = (t: number) => asked.filter((id) => id.startsWith(`t${t}.`)).length;
    // Response 0 stays undecided, and is asked about each time; the others are lost.
    expect([count(0), count(1), count(2)]).toEqual([8, 4, 4]);
  });

  it('asks again at last where a response seems lost', async () => {
    const states = batch([[17, 17]]);
    const { asked, ask } = asking(({ trajectory }) => (trajectory === 0 ? 0 : 0.5));
    await valueFew(states, 0.5, () => 0.5, ask);
    const lost = asked.filter((id) => id.startsWith('t0.')).length;
    expect(lost).toBeGreaterThan(1);
    expect(lost).toBeLessThan(5);
  });

  it('values a batch of more responses than a call may have arguments', async () => {
    const states = batch([[3, ...Array<number>(130_000).fill(2)]]);
    const { draw, ask } = asking(() => 0.5);
    expect(await valueFew(states, 0.5, draw, ask)).toHaveLength(130_003);
  });
});
