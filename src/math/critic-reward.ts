import { isNoise } from './statistics.ts';

/**
 * The critic's reward R(s, z) = 1 - (r - v)^2 for completion z of state s, the negative Brier loss (GenAC, arXiv 2604.10701, the rule-based
 * reward of RL pretraining). A completion without a valid score earns 0, which is also the least that a parsed one can earn.
 *
 * @param value v = score / 10 in [0, 1], or null: malformed
 * @param rewards of the trajectories that went through the state, each in [0, 1]; R is averaged over them
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
 * REINFORCE weights R - b of completions, state by state; exactly 0 where rounding alone is left.
 * `none`: b = 0 (the paper). `leave-one-out`: b = mean R of the state's other completions (needs at least two). `batch-mean`: b = mean R of
 * all completions of the batch.
 *
 * @param rewards rewards[i][j] = R of completion j of state i
 * @returns weights of the same shape
 */
export function criticWeights(rewards: readonly (readonly number[])[], baseline: CriticBaseline): number[][] {
  if (baseline === 'none') return rewards.map((state) => [...state]);
  if (baseline === 'batch-mean') {
    const all = rewards.flat();
    const mean = all.reduce((sum, r) => sum + r, 0) / Math.max(1, all.length);
    return rewards.map((state) => state.map((r) => withoutNoise(r - mean)));
  }
  return rewards.map((state, i) => {
    if (state.length < 2) {
      throw new RangeError(
        `leave-one-out needs at least 2 completions per state; state ${i} has ${state.length}`,
      );
    }
    const total = state.reduce((sum, r) => sum + r, 0);
    return state.map((r) => withoutNoise(r - (total - r) / (state.length - 1)));
  });
}

const withoutNoise = (weight: number) => (isNoise(weight) ? 0 : weight);
