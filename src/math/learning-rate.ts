/**
 * A learning rate that warms up linearly from 0, then decays from `peak` to `peak * min_lr_ratio`.
 * With
 * `min_lr_ratio` 0 it would reach 0 one step after the last, so every step has an effect.
 */
export interface LearningRateSchedule {
  readonly peak: number;
  readonly decay: 'constant' | 'linear' | 'cosine';
  /** Steps of warm-up. */
  readonly warmup: number;
  /** Share of `peak` at the last step, in [0, 1]; 0: it would reach 0 one step later. */
  readonly min_lr_ratio: number;
}

/**
 * Returns the learning rate of step `step` (0-based) of `total`: never 0. Step 0 of a warm-up of n
 * steps has peak / n.
 */
export function learningRate(schedule: LearningRateSchedule, step: number, total: number): number {
  const { peak, decay, warmup, min_lr_ratio } = schedule;
  if (step < warmup) return (peak * (step + 1)) / warmup;
  if (decay === 'constant') return peak;
  const last = min_lr_ratio > 0 ? total - 1 : total;
  const progress = Math.max(0, Math.min(step, total - 1) - warmup) / Math.max(1, last - warmup);
  const share = decay === 'linear' ? 1 - progress : 0.5 * (1 + Math.cos(Math.PI * progress));
  return peak * (min_lr_ratio + (1 - min_lr_ratio) * share);
}

/**
 * A plateau whose end is decided during the stage: warm-up, constant, then a linear fall to
 * `min_lr_ratio` of the rate within `cooldown` steps.
 */
export interface PlateauSchedule {
  readonly learning_rate: number;
  readonly warmup: number;
  readonly cooldown: number;
  readonly min_lr_ratio: number;
}

/**
 * @param coolFrom the first step (0-based) of the fall
 */
export function plateauRate(schedule: PlateauSchedule, step: number, coolFrom: number): number {
  const { learning_rate: peak, warmup, cooldown, min_lr_ratio } = schedule;
  const rising = { peak, decay: 'constant', warmup, min_lr_ratio: 1 } as const;
  if (step < coolFrom) return learningRate(rising, step, coolFrom);
  // The fall begins where the warm-up was, if it begins amid that.
  const reached = coolFrom > 0 ? learningRate(rising, coolFrom - 1, coolFrom) : peak;
  const falling = { peak: reached, decay: 'linear', warmup: 0, min_lr_ratio } as const;
  return learningRate(falling, step - coolFrom, cooldown);
}
