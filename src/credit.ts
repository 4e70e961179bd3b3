/**
 * assignCredit: trajectories -> credit. The whole method of GenAC (arXiv 2604.10701) on one page;
 * everything it calls is a pure function or the critic.
 *
 * Where it departs from the paper:
 * 1. Credit is per segment, not per token: the paper's segmentation is not public.
 * 2. s_0 is valued once for its whole group.
 * 3. The group mean replaces a critic that is no better than a constant on the batch, or that wrote
 *    no valid score (a gate that can be turned off).
 */

import { runYielding } from './event-loop.ts';
import {
  type AdvantageScale,
  advantageDivisors,
  divided,
  lengthAdaptiveLambdas,
  segmentAdvantages,
  tokenAdvantages,
} from './math/advantage.ts';
import { explainedVariance, groupBy, isNoise, mean, meanSquaredError } from './math/statistics.ts';
import { firstState, segmentState } from './state.ts';
import { type BudgetedSegmentation, segmentResponse } from './text/segment.ts';
import type {
  ActorProfile,
  Credit,
  Outcome,
  RewardedTrajectory,
  Segment,
  State,
  Trajectory,
  Valuation,
} from './types.ts';

export interface CreditOptions {
  readonly gamma: number;
  /** Of GAE, the same for all responses, or by their length (`lengthAdaptiveLambdas`). */
  readonly lambda: number | { readonly length_adaptive: number };
  /**
   * `group-std` divides by the group's deviation where the value of every state is its group's mean
   * reward, and by the batch's root mean square where it is not (`advantageDivisors` says why).
   */
  readonly scale: AdvantageScale;
  /**
   * Gate: where the critic is no better than a constant on this batch, the group mean is the value
   * of every state (see `explainsNothing`). `off` for critics that value from outcomes:
   * leave-one-out has a negative explained variance by construction.
   */
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
  /** Each state once, with the rewards of all trajectories that went through it. */
  readonly outcomes: readonly Outcome[];
  /** Of the critic's values against the rewards; null: the rewards don't vary. */
  readonly explainedVariance: number | null;
  /** The gate closed: the group mean was used for the actor, not the critic's values. */
  readonly fellBack: boolean;
}

/**
 * States s_0 .. s_{n-1} of a trajectory; n is at least 1. With `shareFirst`, s_0 is one state for
 * the whole group, valued once.
 */
export function segmentTrajectory<T extends Trajectory>(
  trajectory: T,
  index: number,
  segmentation: BudgetedSegmentation,
  actor: ActorProfile,
  shareFirst = true,
): SegmentedTrajectory<T> {
  const found = segmentResponse(trajectory, segmentation);
  // A host's response may have no token: what it says of s_0 is its reward.
  const segments = found.length > 0 ? found : [{ start: 0, end: 0 }];
  const { problem, promptIds, group } = trajectory;
  const states = segments.map((segment, k) =>
    k === 0 && shareFirst
      ? firstState(problem, promptIds, group, actor)
      : segmentState(trajectory, index, segment, k, actor),
  );
  return { trajectory, segments, states };
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
  const steps = creditSteps(segmented, valuations, options);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** `assignCredit`, with turns of the event loop: a large batch takes seconds. */
export function assignCreditYielding(
  segmented: readonly SegmentedTrajectory<RewardedTrajectory>[],
  valuations: ReadonlyMap<string, Valuation>,
  options: CreditOptions,
): Promise<CreditAssignment> {
  return runYielding(creditSteps(segmented, valuations, options));
}

/** The event loop may turn at each `yield`. */
function* creditSteps(
  segmented: readonly SegmentedTrajectory<RewardedTrajectory>[],
  valuations: ReadonlyMap<string, Valuation>,
  options: CreditOptions,
): Generator<void, CreditAssignment> {
  const outcomes = yield* outcomesOf(segmented, valuations);
  const { valued, rewarded } = yield* eachReward(outcomes);
  const explained = explainedVariance(valued, rewarded);
  const fellBack =
    options.fallback === 'group-mean' && explainsNothing(outcomes, valued, rewarded, explained);
  const groupMeans = new Map(
    [...groupBy(segmented, (s) => s.trajectory.group)].map(([group, members]) => [
      group,
      mean(members.map((member) => member.trajectory.reward)),
    ]),
  );
  const credits: Credit[] = [];
  let baselineIsGroupMean = true;
  for (const { trajectory, segments, states } of segmented) {
    yield;
    const groupMean = groupMeans.get(trajectory.group)!;
    const values = new Float64Array(states.length);
    for (let k = 0; k < values.length; k++) {
      values[k] = fellBack ? groupMean : valuations.get(states[k]!.id)!.value;
      baselineIsGroupMean &&= Math.abs(values[k]! - groupMean) < 1e-9;
    }
    // The fallback is GRPO's advantage r - mean, which is lambda = 1 with a constant value.
    const lambda = fellBack ? 1 : lambdaOf(options.lambda, segments);
    const gamma = fellBack ? 1 : options.gamma;
    const asked = states.map(({ id }) => fellBack || !valuations.get(id)!.inherited);
    const advantages = segmentAdvantages(values, trajectory.reward, gamma, lambda, asked);
    const { length } = trajectory.completionIds;
    credits.push({
      segments,
      values,
      segmentAdvantages: advantages,
      advantages: tokenAdvantages(advantages, segments, length, trajectory.actorMask),
    });
  }
  const scale = options.scale === 'group-std' && !baselineIsGroupMean ? 'batch-std' : options.scale;
  const divisors = advantageDivisors(
    scale,
    credits.map(({ advantages }, i) => {
      const { group, reward, actorMask } = segmented[i]!.trajectory;
      return { group, reward, actorMask, advantages };
    }),
  );
  for (let i = 0; i < credits.length; i++) {
    yield;
    const { advantages, ...rest } = credits[i]!;
    credits[i] = { ...rest, advantages: divided(advantages, divisors[i]!) };
  }
  return { credits, outcomes, explainedVariance: explained, fellBack };
}

const lambdaOf = (lambda: CreditOptions['lambda'], segments: readonly Segment[]) =>
  typeof lambda === 'number' ? lambda : lengthAdaptiveLambdas(segments, lambda.length_adaptive);

/** The value of each state, and a reward, once for each trajectory that went through it. */
function* eachReward(
  outcomes: readonly Outcome[],
): Generator<void, { valued: Float64Array; rewarded: Float64Array }> {
  const count = outcomes.reduce((sum, { rewards }) => sum + rewards.length, 0);
  const [valued, rewarded] = [new Float64Array(count), new Float64Array(count)];
  let next = 0;
  for (const { valuation, rewards } of outcomes) {
    if (next % 256 === 0) yield;
    for (const reward of rewards) {
      valued[next] = valuation.value;
      rewarded[next++] = reward;
    }
  }
  return { valued, rewarded };
}

/**
 * The gate's verdict on a batch: true where no score was valid, or where the explained variance
 * 1 - mean((r - v)^2) / var(r) is not above 0, so that a constant would have done as well.
 *
 * Where all rewards are alike their variance is 0 and that statistic does not exist. Such a batch
 * is no proof against a critic (it is where outcomes alone teach nothing, and credit within a
 * response is all there is), but a critic that is stuck at a constant would push all its tokens one
 * way. So the constant to beat is then the one that was known before the batch, the actor's success
 * rate; where that is not known either, the critic is trusted.
 */
function explainsNothing(
  outcomes: readonly Outcome[],
  values: Float64Array,
  rewards: Float64Array,
  explained: number | null,
): boolean {
  if (outcomes.length === 0) return false;
  if (outcomes.every((o) => o.valuation.parsed === 'malformed')) return true;
  if (explained !== null) return explained <= 0 || isNoise(explained);
  const rate = outcomes[0]!.state.actor.successRate;
  if (rate === null) return false;
  const ofCritic = meanSquaredError(values, rewards);
  const ofRate = meanSquaredError(new Float64Array(rewards.length).fill(rate), rewards);
  return ofCritic >= ofRate && !isNoise(ofCritic);
}

function* outcomesOf(
  segmented: readonly SegmentedTrajectory<RewardedTrajectory>[],
  valuations: ReadonlyMap<string, Valuation>,
): Generator<void, Outcome[]> {
  const outcomes: Outcome[] = [];
  const shared = new Map<string, number[]>();
  for (const { trajectory, states } of segmented) {
    yield;
    const rewards = [trajectory.reward];
    for (const state of states) {
      const known = shared.get(state.id);
      if (known) {
        known.push(trajectory.reward);
        continue;
      }
      const valuation = valuations.get(state.id);
      if (!valuation) throw new Error(`state ${state.id} was not valued`);
      if (state.trajectory !== null) outcomes.push({ state, valuation, rewards });
      else {
        const ofGroup = [trajectory.reward];
        shared.set(state.id, ofGroup);
        outcomes.push({ state, valuation, rewards: ofGroup });
      }
    }
  }
  return outcomes;
}
