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

export const deviation = (values: ArrayLike<number>): number => Math.sqrt(variance(values));

/** Mean squared error of two arrays of one length. */
export function meanSquaredError(predicted: ArrayLike<number>, observed: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < observed.length; i++) sum += (predicted[i]! - observed[i]!) ** 2;
  return observed.length === 0 ? Number.NaN : sum / observed.length;
}

/**
 * Explained variance 1 - Var(y - v) / Var(y), at most 1; below 0 the prediction is worse than a constant.
 * null where the observed values do not vary: there is nothing to explain.
 */
export function explainedVariance(predicted: ArrayLike<number>, observed: ArrayLike<number>): number | null {
  const total = variance(observed);
  if (!(total > 1e-12)) return null;
  return 1 - variance(Float64Array.from(observed, (y, i) => y - predicted[i]!)) / total;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Items by key, in order of first appearance. */
export function groupBy<T, K>(items: Iterable<T>, key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}
