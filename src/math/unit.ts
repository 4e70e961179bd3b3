/**
 * How far rounding may put a reward outside its range if the bounds are of order 1, as in TRL's
 * trainer.
 */
const TOLERANCE = 1e-6;

/**
 * Maps a reward of the range [low, high] to [0, 1].
 *
 * @returns null if it is not a finite number, or is outside the range by more than rounding (1e-6
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
