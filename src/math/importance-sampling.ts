/**
 * Importance sampling between the weights that sampled and those that are trained, where the two
 * compute otherwise (another engine, other kernels, another type): Yao et al. 2025, "Your efficient
 * RL framework secretly brings you off-policy RL training"; modes and names as in TRL.
 */

export const importanceModes = [
  'token_truncate',
  'token_mask',
  'sequence_truncate',
  'sequence_mask',
] as const;

export type ImportanceMode = (typeof importanceModes)[number];

/**
 * What the advantages of a response are multiplied by: exp(old - sampled) of each token, or of the
 * sum over the response, at most `cap` (`truncate`), or 0 above it (`mask`).
 *
 * @param old log-probabilities in nats under the trained weights, before any update
 * @param sampled the same when they were sampled
 * @returns one for each token, in [0, cap]
 */
export function importanceWeights(
  old: ArrayLike<number>,
  sampled: ArrayLike<number>,
  mode: ImportanceMode,
  cap: number,
): Float32Array {
  const limited = (ratio: number) => {
    if (ratio <= cap) return ratio;
    return mode.endsWith('mask') ? 0 : cap;
  };
  const weights = new Float32Array(old.length);
  if (mode.startsWith('token')) {
    for (let t = 0; t < weights.length; t++) weights[t] = limited(Math.exp(old[t]! - sampled[t]!));
    return weights;
  }
  let sum = 0;
  for (let t = 0; t < weights.length; t++) sum += old[t]! - sampled[t]!;
  return weights.fill(limited(Math.exp(sum)));
}

export interface SamplingGap {
  /** Of |old - sampled| over tokens, in nats. */
  readonly mean: number;
  readonly p99: number;
  readonly max: number;
  /** Mean of exp(d) - 1 - d, d = old - sampled: KL(sampler || trained), nats per token. */
  readonly kl: number;
}

/** How far apart the log-probabilities of the same tokens are; all 0 of no tokens. */
export function samplingGap(
  pairs: Iterable<readonly [old: ArrayLike<number>, sampled: ArrayLike<number>]>,
): SamplingGap {
  const differences: number[] = [];
  let kl = 0;
  for (const [old, sampled] of pairs)
    for (let t = 0; t < old.length; t++) {
      const difference = old[t]! - sampled[t]!;
      differences.push(Math.abs(difference));
      kl += Math.expm1(difference) - difference;
    }
  const { length } = differences;
  if (length === 0) return { mean: 0, p99: 0, max: 0, kl: 0 };
  const sorted = Float64Array.from(differences).sort();
  return {
    mean: sorted.reduce((a, b) => a + b, 0) / length,
    p99: sorted[Math.min(length - 1, Math.floor(0.99 * length))]!,
    max: sorted[length - 1]!,
    kl: kl / length,
  };
}
