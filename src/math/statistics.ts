export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return values.length === 0 ? Number.NaN : sum / values.length;
}

/** Population variance. */
export function variance(values: ArrayLike<number>): number {
  const m = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const distance = values[i]! - m;
    sum += distance * distance;
  }
  return values.length === 0 ? Number.NaN : sum / values.length;
}

/** Standard deviation of a sample (n - 1); 0 for fewer than two values. */
export function sampleDeviation(values: ArrayLike<number>): number {
  const n = values.length;
  return n < 2 ? 0 : Math.sqrt((variance(values) * n) / (n - 1));
}

const tails = [12.706, 4.303, 3.182, 2.776, 2.571];

/**
 * Quantile .975 of Student's t, within .002.
 *
 * @param freedom degrees of freedom, 1 or more
 */
export function studentQuantile(freedom: number): number {
  const known = tails[freedom - 1];
  if (known !== undefined) return known;
  // Cornish and Fisher's expansion around the normal quantile.
  const z = 1.959964;
  const first = (z ** 3 + z) / 4;
  const second = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const third = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  return z + first / freedom + second / freedom ** 2 + third / freedom ** 3;
}

/**
 * Returns whether a number is only the rounding error of quantities of order 1 (rewards, values,
 * advantages, weights). No decision may depend on such a number.
 */
export const isNoise = (value: number): boolean => Math.abs(value) < 1e-12;

/** Mean squared error of two arrays of one length. */
export function meanSquaredError(
  predicted: ArrayLike<number>,
  observed: ArrayLike<number>,
): number {
  let sum = 0;
  for (let i = 0; i < observed.length; i++) sum += (predicted[i]! - observed[i]!) ** 2;
  return observed.length === 0 ? Number.NaN : sum / observed.length;
}

/**
 * Explained variance 1 - mean((y - v)^2) / var(y), at most 1. The best constant has 0, and a
 * prediction at or below 0 says nothing about y. A constant offset counts as error, which it would
 * not with var(y - v).
 *
 * @returns null if the observed values do not vary
 */
export function explainedVariance(
  predicted: ArrayLike<number>,
  observed: ArrayLike<number>,
): number | null {
  const total = variance(observed);
  if (!(total > 1e-12)) return null;
  return 1 - meanSquaredError(predicted, observed) / total;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Groups items by key, in order of first appearance. */
export function groupBy<T, K>(items: Iterable<T>, key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}
