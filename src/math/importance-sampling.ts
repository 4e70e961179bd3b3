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

/** How a sampler is corrected for. */
export interface ImportanceSampling {
  /** Of each token or of the whole response; above the cap it is cut, or counts for nothing. */
  readonly mode: ImportanceMode;
  readonly cap: number;
}

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

/** What advantages or weights are multiplied by, added up batch by batch. */
export class RatioSummary {
  #sum = 0;
  #count = 0;
  #least = Number.POSITIVE_INFINITY;
  #most = 0;

  add(ratios: Iterable<number>): void {
    for (const ratio of ratios) {
      this.#sum += ratio;
      this.#count++;
      [this.#least, this.#most] = [Math.min(this.#least, ratio), Math.max(this.#most, ratio)];
    }
  }

  /** 1 of no ratios, as are the others. */
  get mean(): number {
    return this.#count > 0 ? this.#sum / this.#count : 1;
  }
  get min(): number {
    return this.#count > 0 ? this.#least : 1;
  }
  get max(): number {
    return this.#count > 0 ? this.#most : 1;
  }
}

/** `SamplingGap` but for its percentile, added up batch by batch. */
export class SamplingGapSummary {
  #sum = 0;
  #kl = 0;
  #count = 0;
  #most = 0;

  add(old: ArrayLike<number>, sampled: ArrayLike<number>): void {
    for (let t = 0; t < old.length; t++) {
      const difference = old[t]! - sampled[t]!;
      this.#sum += Math.abs(difference);
      this.#kl += Math.expm1(difference) - difference;
      this.#most = Math.max(this.#most, Math.abs(difference));
    }
    this.#count += old.length;
  }

  get mean(): number {
    return this.#count > 0 ? this.#sum / this.#count : 0;
  }
  get kl(): number {
    return this.#count > 0 ? this.#kl / this.#count : 0;
  }
  get max(): number {
    return this.#most;
  }
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
  const summary = new SamplingGapSummary();
  for (const [old, sampled] of pairs) {
    summary.add(old, sampled);
    for (let t = 0; t < old.length; t++) differences.push(Math.abs(old[t]! - sampled[t]!));
  }
  const sorted = Float64Array.from(differences).sort();
  const { mean, max, kl } = summary;
  const at = Math.min(sorted.length - 1, Math.floor(0.99 * sorted.length));
  return { mean, p99: sorted[at] ?? 0, max, kl };
}
