/** A learning rate that warms up linearly from 0, then decays from `peak` to `peak * final`. */
export interface LearningRateSchedule {
  readonly peak: number;
  readonly decay: 'constant' | 'linear' | 'cosine';
  /** Steps of warm-up. */
  readonly warmup: number;
  /** Share of `peak` that is left at the last step, in [0, 1]. */
  readonly final: number;
}

/**
 * The learning rate of step `step` (0-based) of `total`. Step 0 of a warm-up of n steps has peak / n, never 0: no update is without effect.
 */
export function learningRate(schedule: LearningRateSchedule, step: number, total: number): number {
  const { peak, decay, warmup, final } = schedule;
  if (step < warmup) return (peak * (step + 1)) / warmup;
  if (decay === 'constant') return peak;
  const progress = Math.min(1, (step - warmup) / Math.max(1, total - 1 - warmup));
  const share = decay === 'linear' ? 1 - progress : 0.5 * (1 + Math.cos(Math.PI * progress));
  return peak * (final + (1 - final) * share);
}
