import { groupBy, isNoise, sampleDeviation } from './statistics.ts';

/**
 * Generalized advantage estimation over segments (Schulman 2016, eq. 16, with segments for time
 * steps):
 *   d_k = gamma V(s_{k+1}) - V(s_k), plus r at the last segment, where V after the end is 0;
 *   A_k = sum over l of (gamma lambda)^l d_{k+l}.
 * With gamma = lambda = 1 the sum telescopes: A_k = r - V(s_k).
 *
 * A segment at whose state nothing was asked counts as one with the segment before it: both are one
 * step, with one advantage.
 *
 * @param lambda one for all steps, or one for each segment: how much what follows segment k counts
 * @param values V(s_0) .. V(s_{n-1}), one for each segment, in [0, 1]
 * @param reward r in [0, 1]
 * @param asked whether a step begins with segment k; default: with each one. With the first anyway
 * @returns A_0 .. A_{n-1}
 */
export function segmentAdvantages(
  values: ArrayLike<number>,
  reward: number,
  gamma: number,
  lambda: number | ArrayLike<number>,
  asked: ArrayLike<boolean> | null = null,
): Float64Array {
  const advantages = new Float64Array(values.length);
  let [next, following, end] = [reward, 0, values.length];
  let decay = 1;
  for (let k = values.length - 1; k >= 0; k--) {
    decay = typeof lambda === 'number' ? lambda : decay * lambda[k]!;
    if (k > 0 && asked !== null && !asked[k]) continue;
    following = next - values[k]! + gamma * decay * following;
    advantages.fill(following, k, end);
    [next, end, decay] = [gamma * values[k]!, k, 1];
  }
  return advantages;
}

/**
 * Lambda by the length of the response (VAPO, arXiv 2504.05118): 1 - 1 / (alpha l) for each of its
 * l tokens, so that long responses are not judged by their end alone and short ones not by values
 * alone. A segment of m tokens counts as m steps: what follows it has lambda^m.
 *
 * @returns one for each segment, in [0, 1]
 */
export function lengthAdaptiveLambdas(
  segments: readonly { readonly start: number; readonly end: number }[],
  alpha: number,
): Float64Array {
  const length = segments.reduce((sum, { start, end }) => sum + end - start, 0);
  const perToken = Math.max(0, 1 - 1 / (alpha * length));
  return Float64Array.from(segments, ({ start, end }) => perToken ** (end - start));
}

/**
 * Spreads A_k over the tokens of segment k. Tokens that the actor did not write (mask 0), tokens in
 * no segment, and advantages that are rounding noise get 0.
 *
 * @param segments in order, not overlapping; gaps are allowed
 * @param length number of tokens of the response
 */
export function tokenAdvantages(
  advantages: ArrayLike<number>,
  segments: readonly { readonly start: number; readonly end: number }[],
  length: number,
  actorMask: Uint8Array | null,
): Float32Array {
  const perToken = new Float32Array(length);
  segments.forEach((segment, k) => {
    const advantage = advantages[k]!;
    if (isNoise(advantage)) return;
    for (let t = segment.start; t < segment.end; t++) {
      if (actorMask === null || actorMask[t] === 1) perToken[t] = advantage;
    }
  });
  return perToken;
}

export type AdvantageScale = 'none' | 'batch-std' | 'group-std';

/** The part of a trajectory that a scale reads. */
export interface Scaled {
  readonly group: number;
  readonly reward: number;
  /** One for each token of the response. */
  readonly advantages: Float32Array;
  /** 1 where the actor wrote the token; null or absent: the actor wrote all. */
  readonly actorMask?: Uint8Array | null;
}

/** Added to a group's deviation, as in TRL's GRPOTrainer. */
const GROUP_EPSILON = 1e-4;

/**
 * Returns the divisor of each trajectory's advantages. They are never centred: the baseline was
 * subtracted before.
 *
 * `batch-std`: one number for the whole batch, the root mean square of the advantages over the
 * tokens that the actor wrote. Tokens of tools change nothing, and after scaling the mean square is
 * 1. The number is 1 if the batch has no signal, so that noise is not amplified.
 *
 * `group-std`: for each group the sample deviation of its rewards + 1e-4, as in TRL (GRPO, arXiv
 * 2402.03300, eq. 3). It has a meaning only if the baseline is the group mean, because only then is
 * it the deviation of the advantages.
 *
 * @returns one positive divisor for each trajectory
 */
export function advantageDivisors(
  scale: AdvantageScale,
  trajectories: readonly Scaled[],
): Float64Array {
  const divisors = new Float64Array(trajectories.length).fill(1);
  if (scale === 'none') return divisors;
  if (scale === 'batch-std') {
    const size = rootMeanSquare(trajectories);
    return isNoise(size) ? divisors : divisors.fill(size);
  }
  const groups = groupBy(trajectories, (t) => t.group);
  const deviations = new Map(
    [...groups].map(([group, members]) => [group, sampleDeviation(members.map((m) => m.reward))]),
  );
  return divisors.map((_, i) => deviations.get(trajectories[i]!.group)! + GROUP_EPSILON);
}

/**
 * Over the actor's tokens; 0 if there are none. A loop, because the paper's scale has half a
 * million tokens.
 */
function rootMeanSquare(trajectories: readonly Scaled[]): number {
  let squares = 0;
  let count = 0;
  for (const { advantages, actorMask = null } of trajectories) {
    for (let t = 0; t < advantages.length; t++) {
      if (actorMask !== null && actorMask[t] !== 1) continue;
      squares += advantages[t]! * advantages[t]!;
      count++;
    }
  }
  return count === 0 ? 0 : Math.sqrt(squares / count);
}

/** A loop, because half a million callbacks take noticeable time. */
export function divided(values: Float32Array, divisor: number): Float32Array {
  const quotients = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) quotients[i] = values[i]! / divisor;
  return quotients;
}
