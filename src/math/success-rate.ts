/**
 * Returns the actor's smoothed success rate, which ICC puts into the critic's prompt: p <- m p + (1
 * - m) mean(r). Source: GenAC (arXiv 2604.10701), In-Context Conditioning: "smoothed running
 * average of the success rate".
 *
 * @param previous the rate so far in [0, 1]; null: unknown, and the batch's mean becomes the rate
 * @param rewards of the iteration's trajectories, each in [0, 1], at least one
 * @param momentum m in [0, 1)
 * @returns the new rate in [0, 1]
 */
export function smoothSuccessRate(
  previous: number | null,
  rewards: readonly number[],
  momentum: number,
): number {
  if (rewards.length === 0) throw new RangeError('a success rate needs at least one reward');
  if (!(momentum >= 0 && momentum < 1))
    throw new RangeError(`momentum ${momentum} is outside [0, 1)`);
  const mean = rewards.reduce((sum, r) => sum + r, 0) / rewards.length;
  return previous === null ? mean : momentum * previous + (1 - momentum) * mean;
}
