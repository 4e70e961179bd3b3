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
export function changedOptions<S extends 'joint' | 'credit', O extends keyof Config[S]>(
  config: { readonly [name in S]: Pick<Config[S], O> },
  section: S,
  options: readonly O[],
  why: string,
): string[] {
  const [own, usual] = [config[section], defaults[section] as Pick<Config[S], O>];
  return options
    .filter((option) => JSON.stringify(own[option]) !== JSON.stringify(usual[option]))
    .map((option) => `${section}.${String(option)}: ${why}`);
}

/** What is said of how the critic learns from rewards. */
export interface CriticUpdates {
  readonly joint: Pick<Config['joint'], 'critic' | (typeof criticsOwn)[number]>;
  readonly critic_rl: Pick<Config['critic_rl'], 'decay' | 'min_lr_ratio'>;
}

/** Problems of learning rates that nothing has. */
export function ratesWithoutEffect(
  config: CriticUpdates & { readonly actor?: Config['actor'] },
): string[] {
  const { joint, critic_rl, actor } = config;
  const frozen =
    joint.critic === 'frozen'
      ? changedOptions(config, 'joint', criticsOwn, 'has no effect with joint.critic: frozen')
      : [];
  const ends = Object.entries({ actor, critic_rl, joint }).flatMap(([name, section]) => {
    const usual = name === 'critic_rl' ? defaults.critic_rl.min_lr_ratio : 0;
    return section && section.decay === 'constant' && section.min_lr_ratio !== usual
      ? [`${name}.min_lr_ratio: has no effect with ${name}.decay: constant`]
      : [];
  });
  return [...frozen, ...ends];
}

/** Problems of stage 3 with a critic that does not learn. */
export const updatesWithoutEffect = (
  config: Pick<CriticUpdates, 'joint'>,
  { name, learns }: { readonly name: string; readonly learns?: boolean },
): string[] =>
  learns
    ? []
    : changedOptions(
        config,
        'joint',
        ['critic', ...criticsOwn],
        `has no effect with the critic "${name}", which does not learn`,
      );
