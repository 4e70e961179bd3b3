import { isNoise } from './statistics.ts';

/**
 * The critic's reward R(s, z) = 1 - (r - v)^2 for completion z of state s, the negative Brier loss
 * (GenAC, arXiv 2604.10701, the rule-based reward of RL pretraining). A completion without a valid
 * score earns 0, which is also the least that a parsed one can earn.
 *
 * @param value v = score / 10 in [0, 1], or null: malformed
 * @param rewards of the trajectories that went through the state, each in [0, 1]; R is averaged
 * over them
 * @returns in [0, 1]
 */
export function criticReward(value: number | null, rewards: readonly number[]): number {
  if (value === null) return 0;
  let total = 0;
  for (const reward of rewards) total += 1 - (reward - value) ** 2;
  return total / rewards.length;
}

export const criticBaselines = ['none', 'leave-one-out', 'batch-mean'] as const;
export type CriticBaseline = (typeof criticBaselines)[number];

/**
 * Returns REINFORCE weights R - b of completions, state by state; exactly 0 if only rounding is
 * left. `none`: b = 0 (the paper). `leave-one-out`: b = mean R of the state's other completions
 * (needs at least two). `batch-mean`: b = mean R of all completions of the batch.
 *
 * @param rewards rewards[i][j] = R of completion j of state i
 * @returns weights of the same shape
 */
export function criticWeights(
  rewards: readonly (readonly number[])[],
  baseline: CriticBaseline,
): number[][] {
  const all = baseline === 'batch-mean' ? rewards.flat() : [];
  const batchMean = all.reduce((sum, r) => sum + r, 0) / Math.max(1, all.length);
  return rewards.map((state, i) => stateWeights(state, baseline, batchMean, i));
}

/**
 * Returns the weights of one state's completions, for batches that are too large for
 * `criticWeights`.
 *
 * @param batchMean mean R of all completions of the batch; only `batch-mean` reads it
 * @param index of the state, for errors
 */
export function stateWeights(
  rewards: readonly number[],
  baseline: CriticBaseline,
  batchMean: number,
  index: number,
): number[] {
  if (baseline === 'none') return [...rewards];
  if (baseline === 'batch-mean') return rewards.map((r) => withoutNoise(r - batchMean));
  if (rewards.length < 2) {
    throw new RangeError(
      `leave-one-out needs at least 2 completions per state; state ${index} has ${rewards.length}`,
    );
  }
  const total = rewards.reduce((sum, r) => sum + r, 0);
  return rewards.map((r) => withoutNoise(r - (total - r) / (rewards.length - 1)));
}

const withoutNoise = (weight: number) => (isNoise(weight) ? 0 : weight);
