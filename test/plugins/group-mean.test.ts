import { describe, expect, it } from 'vitest';
import groupMean from '../../plugins/critics/group-mean.ts';
import { createCritic } from '../../src/checked-critic.ts';
import { assignCredit, segmentTrajectory } from '../../src/credit.ts';
import type { RewardedTrajectory } from '../../src/types.ts';
import { criticConformance } from '../conformance/critic.ts';
import { bareCriticEnvironment } from '../fixtures/critic-environment.ts';
import { rewardedTrajectory } from '../fixtures/trajectories.ts';

const make = (leave_one_out: boolean) =>
  createCritic(groupMean, { leave_one_out }, bareCriticEnvironment());
const problems = [{ id: 'p', prompt: 'p', columns: {} }];

for (const leaveOneOut of [false, true]) {
  criticConformance(`group-mean${leaveOneOut ? ', leave one out' : ''}`, {
    make: () => make(leaveOneOut),
    problems,
    responses: ['', 'a'],
    skip: { causal: 'it has no critic: its value is the mean of outcomes, as in GRPO and RLOO' },
  });
}

/** Token advantages of two groups of trajectories, through the real critic and the real credit. */
async function advantages(
  leaveOneOut: boolean,
  scale: 'none' | 'group-std',
  rewards: readonly (readonly number[])[],
) {
  const critic = await make(leaveOneOut);
  const trajectories: RewardedTrajectory[] = rewards.flatMap((group, g) =>
    group.map((reward) => rewardedTrajectory(g, 'a b c', reward)),
  );
  const actor = { name: 'a', parameters: 1, successRate: null };
  const segmentation = { by: 'tokens', tokens: 1, max_segments: 16, min_tokens: 1 } as const;
  const segmented = trajectories.map((t, i) =>
    segmentTrajectory(t, i, segmentation, actor, critic.sharesFirstState),
  );
  const states = [...new Map(segmented.flatMap((s) => s.states).map((s) => [s.id, s])).values()];
  const valuations = await critic.value(states, {
    purpose: 'x',
    iteration: 0,
    rewards: trajectories,
  });
  const byId = new Map(states.map((s, i) => [s.id, valuations[i]!]));
  const { credits } = assignCredit(segmented, byId, {
    gamma: 1,
    lambda: 1,
    scale,
    fallback: 'off',
  });
  return credits.map((credit) => [...credit.advantages]);
}

describe('with lambda = 1', () => {
  it('is GRPO: (r - mean) / std of the group, on every token', async () => {
    // Group 0: rewards 1, 0, 0, 0: mean .25, std of a sample sqrt(.75 / 3) = .5, and 1e-4 as in
    // TRL. Group 1: all alike: nothing to learn.
    const [right, wrong, , , same] = await advantages(false, 'group-std', [
      [1, 0, 0, 0],
      [1, 1],
    ]);
    for (const a of right!) expect(a).toBeCloseTo(0.75 / (0.5 + 1e-4), 5);
    for (const a of wrong!) expect(a).toBeCloseTo(-0.25 / (0.5 + 1e-4), 5);
    expect(same).toEqual([0, 0, 0]);
  });

  it('is RLOO when the own reward is left out: r - mean of the others', async () => {
    const [first, second] = await advantages(true, 'none', [[1, 0, 0.5]]);
    for (const a of first!) expect(a).toBeCloseTo(1 - 0.25, 6);
    for (const a of second!) expect(a).toBeCloseTo(0 - 0.75, 6);
  });
});
