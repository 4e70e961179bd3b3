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
  successRate: number,
): Metrics {
  const all = Object.entries(rolloutMetrics(segmented, assignment, successRate));
  const ours = /^(critic|value|gate)\/|^actor\/success_rate$/;
  return Object.fromEntries(all.filter(([name]) => ours.test(name)));
}

/** The first `count` trajectories, segment by segment. */
export function reportedValuations(
  segmented: Segmented,
  assignment: CreditAssignment,
  count: number,
): HostResult<'assign_credit'>['valuations'] {
  const valuations = new Map(assignment.outcomes.map((o) => [o.state.id, o.valuation]));
  return segmented.slice(0, count).map(({ segments, states }, i) => {
    const credit = assignment.credits[i]!;
    return segments.map(({ start, end }, k) => {
      const { parsed, rationale } = valuations.get(states[k]!.id)!;
      return {
        ...{ from: states[k]!.response.length, tokens: end - start, value: credit.values[k]! },
        ...{ advantage: credit.segmentAdvantages[k]!, parsed, rationale },
      };
    });
  });
}
