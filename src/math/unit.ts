/**
 * What rounding may put a reward outside its range by, where its bounds are of order 1; as in TRL's
 * trainer.
 */
const TOLERANCE = 1e-6;

/**
 * A reward of the range [low, high] in [0, 1].
 *
 * @returns null where it is no finite number, or lies outside the range by more than rounding (1e-6
 *   of the larger bound, and of 1 at least)
 */
export function toUnit(
  reward: unknown,
  [low, high]: readonly [number, number] = [0, 1],
): number | null {
  const slack = TOLERANCE * Math.max(1, Math.abs(low), Math.abs(high));
  if (typeof reward !== 'number' || !(reward >= low - slack && reward <= high + slack)) return null;
  return Math.min(1, Math.max(0, (reward - low) / (high - low)));
}
