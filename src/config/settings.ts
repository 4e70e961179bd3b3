/**
 * The values that may change during a run: their names, checks, and how they are applied to a
 * config.
 */

import type { CriticPlugin } from '../critic.ts';
import { ConfigError, issuesOf, nearest } from './error.ts';
import { type CheckedCritic, refuseForCritic } from './for-critic.ts';
import { checkConfig } from './load.ts';
import type { Config } from './schema.ts';

/** Names are paths in the config. */
export interface Settings {
  readonly 'actor.learning_rate'?: number;
  readonly 'critic_sft.learning_rate'?: number;
  readonly 'critic_rl.learning_rate'?: number;
  readonly 'joint.learning_rate'?: number;
  readonly 'sampling.temperature'?: number;
  readonly 'critic.temperature'?: number;
  readonly 'credit.lambda'?: number;
  readonly 'critic.completions_per_state'?: number;
  readonly 'critic.icc'?: boolean;
  readonly 'joint.schedule'?: Config['joint']['schedule'];
  readonly 'evaluation.every'?: number;
  readonly 'checkpoints.every'?: number;
}

const names: readonly (keyof Settings)[] = [
  'actor.learning_rate',
  'critic_sft.learning_rate',
  'critic_rl.learning_rate',
  'joint.learning_rate',
  'sampling.temperature',
  'critic.temperature',
  'credit.lambda',
  'critic.completions_per_state',
  'critic.icc',
  'joint.schedule',
  'evaluation.every',
  'checkpoints.every',
];

/**
 * Returns the config with the values changed, checked as a whole. A value that is out of range, or
 * has no effect in this configuration, is refused as at the start.
 *
 * @throws ConfigError
 */
export function changedConfig(
  config: Config,
  values: Settings,
  critic: CheckedCritic & Pick<CriticPlugin, 'options'>,
): Config {
  const problems: string[] = [];
  const next = structuredClone(config) as unknown as Record<string, Record<string, unknown>>;
  for (const [name, value] of Object.entries(values)) {
    if (!(names as readonly string[]).includes(name)) {
      const close = nearest(name, names);
      const hint = close ? `did you mean "${close}"?` : `what can: ${names.join(', ')}`;
      problems.push(`${name}: can't change while a run goes on; ${hint}`);
      continue;
    }
    const [section, option] = name.split('.') as [string, string];
    if (section === 'critic' && typeof next.critic === 'string') next.critic = { use: next.critic };
    const holder = next[section];
    if (!holder) problems.push(`${name}: this run has no ${section}`);
    else holder[option] = value;
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const changed = checkConfig(next as never);
  refuseForCritic(changed, critic);
  criticOptions(changed, critic);
  return changed;
}

/** Returns the critic's options of a config, checked. */
export function criticOptions(config: Config, { options }: Pick<CriticPlugin, 'options'>): unknown {
  const { use: _use, ...given } =
    typeof config.critic === 'string' ? { use: config.critic } : config.critic;
  const read = options.safeParse(given);
  if (read.success) return read.data;
  throw new ConfigError(issuesOf(read.error, options, given, 'critic'));
}

export const touchesCritic = (values: Settings): boolean =>
  Object.keys(values).some((name) => name.startsWith('critic.'));
