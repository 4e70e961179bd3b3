/** Makes the answer to a host's batch: metrics, and the valuations of some trajectories. */
import type { HostResult } from '../bridge/host-operations.ts';
import type { CreditAssignment, SegmentedTrajectory } from '../credit.ts';
import { rolloutMetrics } from '../run-folder/iteration-record.ts';
import type { RewardedTrajectory } from '../types.ts';

export type Metrics = Record<string, number>;
export type Segmented = readonly SegmentedTrajectory<RewardedTrajectory>[];

/** What a run's metrics say of critic and values; of rewards and lengths the host says itself. */
export function hostMetrics(
  segmented: Segmented,
  assignment: CreditAssignment,
  successRate: number | null,
): Metrics {
  const all = Object.entries(rolloutMetrics(segmented, assignment, successRate ?? 0));
  const ours = all.filter(([name]) => /^(critic|value|gate)\//.test(name));
  return {
    ...Object.fromEntries(ours),
    ...(successRate !== null && { 'actor/success_rate': successRate }),
  };
}

/**
 * The first `count` trajectories, segment by segment: the critic's own values, also where the gate
 * put the group mean in their place, and the advantages that train the actor.
 */
export function reportedValuations(
  segmented: Segmented,
  assignment: CreditAssignment,
  count: number,
): HostResult<'assign_credit'>['valuations'] {
  const valuations = new Map(assignment.outcomes.map((o) => [o.state.id, o.valuation]));
  return segmented.slice(0, count).map(({ segments, states }, i) => {
    const credit = assignment.credits[i]!;
    return segments.map(({ start, end }, k) => {
      const { value, parsed, inherited = false, rationale } = valuations.get(states[k]!.id)!;
      const tokens = credit.advantages.subarray(start, end);
      // What the actor did not write has none.
      const advantage = tokens.find((one) => one !== 0) ?? 0;
      return {
        ...{ from: states[k]!.response.length, tokens: end - start, value },
        ...{ advantage, parsed, inherited, rationale },
      };
    });
  });
}
