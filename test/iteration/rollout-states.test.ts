/** States of finished responses: which of them are together. */
import { expect, it } from 'vitest';
import { segmentTrajectory } from '../../src/credit.ts';
import {
  allStatesOfRollouts,
  oneStateOfEach,
  statesOfRollouts,
} from '../../src/iteration/rollout-states.ts';
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
    const own = segmented[i]!.states.indexOf(states[0]!);
    expect(segmented[i]!.segments[own]).toBe(segments[0]);
  }
});
