/** States of finished responses: which of them are together. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { readInstead } from '../../plugins/critics/value-head/positions.ts';
import { lambdaReturns } from '../../plugins/critics/value-head/returns.ts';
import { assignCredit, segmentTrajectory } from '../../src/credit.ts';
import {
  allStatesOfRollouts,
  oneStateOfEach,
  statesOfRollouts,
} from '../../src/iteration/rollout-states.ts';
import { mean } from '../../src/math/statistics.ts';
import type { Rollout } from '../../src/task.ts';
import { rewardedTrajectory } from '../fixtures/trajectories.ts';

const actor = { name: 'a', parameters: 1, successRate: 0.5 };
const rollout = (i: number, firstUnedited = 0): Rollout => ({
  problem: { id: `p${i}`, prompt: 'x', columns: {} },
  ...{ actor, response: 'a b c', prefixes: ['', 'a', 'a b'], firstUnedited, reward: i / 4 },
});

it('are all of a rollout that the actor alone led to, each rollout a response of its own', () => {
  const all = allStatesOfRollouts([rollout(0), rollout(1, 2), rollout(2)], 'critic-rl', 10);
  const told = all.map(({ state, value }) => [
    ...[state.id, state.trajectory, state.group, state.index, state.response, value],
  ]);
  expect(told).toEqual([
    ['critic-rl-10.0', 0, 0, 0, '', 0],
    ['critic-rl-10.1', 0, 0, 1, 'a', 0],
    ['critic-rl-10.2', 0, 0, 2, 'a b', 0],
    ['critic-rl-11.2', 1, 1, 2, 'a b', 0.25],
    ['critic-rl-12.0', 2, 2, 0, '', 0.5],
    ['critic-rl-12.1', 2, 2, 1, 'a', 0.5],
    ['critic-rl-12.2', 2, 2, 2, 'a b', 0.5],
  ]);
});

it('are one of each, by itself, wherever the batch is cut', () => {
  const rollouts = Array.from({ length: 40 }, (_, i) => rollout(i, i % 3));
  const whole = statesOfRollouts(rollouts, 7, 'heldout', 0);
  expect(whole.map(({ state }) => state.trajectory)).toEqual(rollouts.map(() => null));
  expect(whole.every(({ state }, i) => state.index >= i % 3 && state.index < 3)).toBe(true);
  const later = statesOfRollouts(rollouts.slice(30), 7, 'heldout', 30);
  expect(later.map(({ state }) => state.response)).toEqual(
    whole.slice(30).map(({ state }) => state.response),
  );
});

it('one of each trajectory keeps its segment', () => {
  const rule = { by: 'tokens', tokens: 2, max_segments: 9, min_tokens: 1, budget: null } as const;
  const segmented = ['a b c d e f', 'g'].map((text, i) =>
    segmentTrajectory(rewardedTrajectory(0, text, 1), i, rule, actor),
  );
  for (const [i, { segments, states }] of oneStateOfEach(segmented, 3, 'x', 0).entries()) {
    expect([segments.length, states.length]).toEqual([1, 1]);
    const own = segmented[i]!.states.findIndex(({ id }) => id === states[0]!.id);
    expect(segmented[i]!.segments[own]).toBe(segments[0]);
  }
});

it('drawn from the responses of a host, each is judged by its own outcome', () => {
  const rule = { by: 'tokens', tokens: 1, max_segments: 9, min_tokens: 1, budget: null } as const;
  fc.assert(
    fc.property(fc.nat(), fc.array(fc.constantFrom(0, 1), { minLength: 1 }), (seed, rewards) => {
      const whole = rewards.map((reward, i) =>
        segmentTrajectory(rewardedTrajectory(0, 'a b c d e', reward), i, rule, actor),
      );
      const drawn = oneStateOfEach(whole, seed, 'critic-rl', 0);
      const valuation = { value: 0.1, rationale: '', parsed: 'ok', completions: [] } as const;
      const valuations = new Map(
        drawn.flatMap(({ states }) => states).map(({ id }) => [id, valuation]),
      );
      const options = { gamma: 1, lambda: 1, scale: 'none', fallback: 'off' } as const;
      const { outcomes } = assignCredit(drawn, valuations, options);
      const states = outcomes.map(({ state }) => state);
      expect(readInstead(states, [0.3, 0.6])).toEqual([...states.keys()]);
      expect([...lambdaReturns(outcomes, 0.5)]).toEqual(
        outcomes.map((outcome) => mean(outcome.rewards)),
      );
    }),
  );
});
