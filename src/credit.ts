/**
 * assignCredit: trajectories -> credit. The whole method of GenAC (arXiv 2604.10701) on one page; everything it calls is a pure function
 * or the critic.
 *
 * Where it departs from the paper: credit is per segment, not per token (the paper's segmentation is not public); s_0 is valued once for its whole
 * group; the group mean stands in for a critic whose explained variance on the batch is below zero, or which wrote no valid score at all (a gate that can be turned off).
 */
import {
  type AdvantageScale,
  advantageDivisors,
  divided,
  segmentAdvantages,
  tokenAdvantages,
} from './math/advantage.ts';
import { explainedVariance, groupBy, mean } from './math/statistics.ts';
import { withoutColumns } from './text/critic-prompt.ts';
import { type BudgetedSegmentation, segmentResponse, textBefore } from './text/segment.ts';
import type {
  ActorProfile,
  Credit,
  Outcome,
  Problem,
  RewardedTrajectory,
  Segment,
  State,
  Trajectory,
  Valuation,
} from './types.ts';

export interface CreditOptions {
  readonly gamma: number;
  readonly lambda: number;
  readonly scale: AdvantageScale;
  /** Gate: below an explained variance of 0 on this batch, use the group mean as the value of every state. */
  readonly fallback: 'group-mean' | 'off';
}

/** A trajectory cut into segments, with the state before each. */
export interface SegmentedTrajectory<T extends Trajectory = Trajectory> {
  readonly trajectory: T;
  readonly segments: readonly Segment[];
  readonly states: readonly State[];
}

export interface CreditAssignment {
  /** One for each trajectory, in order. */
  readonly credits: readonly Credit[];
  /** What the critic learns from: each state once, with the rewards of all trajectories that went through it. */
  readonly outcomes: readonly Outcome[];
  /** Of the critic's values against the rewards; null: the rewards don't vary. */
  readonly explainedVariance: number | null;
  /** The gate closed: the critic's values were not used for the actor. */
  readonly fellBack: boolean;
}

/** States s_0 .. s_{n-1} of a trajectory. With `shareFirst`, s_0 is one state for the whole group, valued once. */
export function segmentTrajectory<T extends Trajectory>(
  trajectory: T,
  index: number,
  segmentation: BudgetedSegmentation,
  actor: ActorProfile,
  shareFirst = true,
): SegmentedTrajectory<T> {
  const segments = segmentResponse(trajectory, segmentation);
  const states = segments.map((segment, k): State => {
    if (k === 0 && shareFirst) return firstState(trajectory.problem, trajectory.group, actor);
    const response = textBefore(trajectory, segment);
    const { group } = trajectory;
    const problem = withoutColumns(trajectory.problem);
    return { id: `t${index}.${k}`, problem, response, index: k, group, trajectory: index, actor };
  });
  return { trajectory, segments, states };
}

/** s_0 of a group: known before any response is. */
export function firstState(given: Problem, group: number, actor: ActorProfile): State {
  const problem = withoutColumns(given);
  return { id: `g${group}`, problem, response: '', index: 0, group, trajectory: null, actor };
}

/**
 * @param segmented trajectories with rewards, from `segmentTrajectory`
 * @param valuations of every state, by its id
 */
export function assignCredit(
  segmented: readonly SegmentedTrajectory<RewardedTrajectory>[],
  valuations: ReadonlyMap<string, Valuation>,
  options: CreditOptions,
): CreditAssignment {
  const outcomes = outcomesOf(segmented, valuations);
  const explained = explainedVariance(
    outcomes.flatMap((o) => o.rewards.map(() => o.valuation.value)),
    outcomes.flatMap((o) => o.rewards),
  );
  const silent = outcomes.length > 0 && outcomes.every((o) => o.valuation.parsed === 'malformed');
  const useless = silent || (explained !== null && explained < 0);
  const fellBack = options.fallback === 'group-mean' && useless;
  const groupMeans = new Map(
    [...groupBy(segmented, (s) => s.trajectory.group)].map(([group, members]) => [
      group,
      mean(members.map((member) => member.trajectory.reward)),
    ]),
  );
  const credits = segmented.map(({ trajectory, segments, states }) => {
    const values = Float64Array.from(states, (state) =>
      fellBack ? groupMeans.get(trajectory.group)! : valuations.get(state.id)!.value,
    );
    // The fallback is GRPO's advantage r - mean, which is lambda = 1 with a constant value.
    const lambda = fellBack ? 1 : options.lambda;
    const gamma = fellBack ? 1 : options.gamma;
    const advantages = segmentAdvantages(values, trajectory.reward, gamma, lambda);
    const { length } = trajectory.completionIds;
    return {
      segments,
      values,
      segmentAdvantages: advantages,
      advantages: tokenAdvantages(advantages, segments, length, trajectory.actorMask),
    };
  });
  const divisors = advantageDivisors(
    options.scale,
    credits.map(({ advantages }, i) => ({ ...pick(segmented[i]!.trajectory), advantages })),
  );
  const scaled = credits.map((credit, i) => ({
    ...credit,
    advantages: divided(credit.advantages, divisors[i]!),
  }));
  return { credits: scaled, outcomes, explainedVariance: explained, fellBack };
}

const pick = ({ group, reward }: RewardedTrajectory) => ({ group, reward });

function outcomesOf(
  segmented: readonly SegmentedTrajectory<RewardedTrajectory>[],
  valuations: ReadonlyMap<string, Valuation>,
): Outcome[] {
  const outcomes = new Map<string, { state: State; valuation: Valuation; rewards: number[] }>();
  for (const { trajectory, states } of segmented) {
    for (const state of states) {
      const known = outcomes.get(state.id);
      if (known) {
        known.rewards.push(trajectory.reward);
        continue;
      }
      const valuation = valuations.get(state.id);
      if (!valuation) throw new Error(`state ${state.id} was not valued`);
      outcomes.set(state.id, { state, valuation, rewards: [trajectory.reward] });
    }
  }
  return [...outcomes.values()];
}
