/** Finds options that differ from their defaults. */
import { type Config, configSchema } from './schema.ts';

/** The config with all defaults. */
export const defaults = configSchema.parse({ folder: '-', task: '-', critic: '-', actor: null });

/** The critic's optimizer options in stage 3. */
export const criticsOwn = [
  'learning_rate',
  'decay',
  'warmup',
  'min_lr_ratio',
  'max_grad_norm',
] as const;

/** Returns a problem for each of these options that differs from its default. */
export function changedOptions<S extends 'joint' | 'credit'>(
  config: Config,
  section: S,
  options: readonly (keyof Config[S])[],
  why: string,
): string[] {
  return options
    .filter(
      (option) =>
        JSON.stringify(config[section][option]) !== JSON.stringify(defaults[section][option]),
    )
    .map((option) => `${section}.${String(option)}: ${why}`);
}
