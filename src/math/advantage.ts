import { deviation, groupBy } from './statistics.ts';

/**
 * Generalized advantage estimation over segments (Schulman 2016, eq. 16, with segments for time steps):
 *   d_k = gamma V(s_{k+1}) - V(s_k), plus r at the last segment, where V after the end is 0;
 *   A_k = sum over l of (gamma lambda)^l d_{k+l}.
 * With gamma = lambda = 1 the sum telescopes: A_k = r - V(s_k).
 *
 * @param values V(s_0) .. V(s_{n-1}), one for each segment, in [0, 1]
 * @param reward r in [0, 1]
 * @returns A_0 .. A_{n-1}
 */
export function segmentAdvantages(
  values: ArrayLike<number>,
  reward: number,
  gamma: number,
  lambda: number,
): Float64Array {
  const count = values.length;
  const advantages = new Float64Array(count);
  let following = 0;
  for (let k = count - 1; k >= 0; k--) {
    const next = k === count - 1 ? reward : gamma * values[k + 1]!;
    following = next - values[k]! + gamma * lambda * following;
    advantages[k] = following;
  }
  return advantages;
}

/**
 * Spreads A_k over the tokens of segment k. Tokens that the actor did not write (mask 0), and tokens in no segment, get 0.
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
    for (let t = segment.start; t < segment.end; t++) {
      if (actorMask === null || actorMask[t] === 1) perToken[t] = advantages[k]!;
    }
  });
  return perToken;
}

export type AdvantageScale = 'none' | 'batch-std' | 'group-std';

/**
 * What the advantages of each trajectory are divided by (they are never centred here: the critic is the baseline).
 * `batch-std`: the standard deviation of all tokens' advantages; `group-std`: that of the group's rewards (GRPO, arXiv 2402.03300, eq. 3).
 * A deviation below 1e-6 divides by 1: there is nothing to scale.
 *
 * @returns one divisor for each trajectory
 */
export function advantageDivisors(
  scale: AdvantageScale,
  trajectories: readonly {
    readonly group: number;
    readonly reward: number;
    readonly advantages: Float32Array;
  }[],
): Float64Array {
  const divisors = new Float64Array(trajectories.length).fill(1);
  if (scale === 'none') return divisors;
  if (scale === 'batch-std') {
    return divisors.fill(orOne(deviationOfAll(trajectories.map((t) => t.advantages))));
  }
  const groups = groupBy(trajectories, (t) => t.group);
  trajectories.forEach((t, i) => {
    divisors[i] = orOne(deviation(groups.get(t.group)!.map((other) => other.reward)));
  });
  return divisors;
}

/** Population deviation of all values of all arrays: half a million at the paper's scale, so neither a copy nor `deviation`, which takes any kind of array. */
function deviationOfAll(arrays: readonly Float32Array[]): number {
  let sum = 0;
  let count = 0;
  for (const array of arrays) {
    for (let i = 0; i < array.length; i++) sum += array[i]!;
    count += array.length;
  }
  const mean = sum / count;
  let squares = 0;
  for (const array of arrays) {
    for (let i = 0; i < array.length; i++) {
      const distance = array[i]! - mean;
      squares += distance * distance;
    }
  }
  return Math.sqrt(squares / count);
}

/** A loop: a callback for each of half a million tokens is felt. */
export function divided(values: Float32Array, divisor: number): Float32Array {
  const quotients = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) quotients[i] = values[i]! / divisor;
  return quotients;
}

const orOne = (value: number) => (value < 1e-6 ? 1 : value);
