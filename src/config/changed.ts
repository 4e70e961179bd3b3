/** Options that were set to something other than their default. */
import { type Config, configSchema } from './schema.ts';

/** What a config has where nothing is said. */
export const defaults = configSchema.parse({ folder: '-', task: '-', critic: '-', actor: null });

/** The optimizer's options of the critic in stage 3. */
export const criticsOwn = [
  'learning_rate',
  'decay',
  'warmup',
  'min_lr_ratio',
  'max_grad_norm',
] as const;

/** A problem for each of these options that was changed. */
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
