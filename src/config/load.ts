/** Reads and checks a run's config. */
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { readText } from '../files/text-file.ts';
import { drawsUnlike } from '../workers/engine.ts';
import { defaults, ratesWithoutEffect } from './changed.ts';
import { ConfigError, issuesOf } from './error.ts';
import { unusableIn } from './plain-data.ts';
import { asWritten, presentNames, warnOfOldNames } from './renamed.ts';
import { rewardsWithoutEffect } from './rewards.ts';
import { type Config, type ConfigInput, configSchema, type StageName } from './schema.ts';
import { secretsIn } from './secrets.ts';

export interface LoadedConfig {
  readonly config: Config;
  /** Folder that paths to a user's own files are relative to. */
  readonly base: string;
}

/** @param options with `warn: false`, old names of options are read without a warning */
export function loadConfigFile(path: string, options?: CheckOptions): LoadedConfig {
  const config = checkConfig(readYaml(path) as ConfigInput, path, options);
  return { config, base: dirname(resolve(path)) };
}

interface CheckOptions {
  /** Whether options under old names are worth a warning: a user can rename them. */
  readonly warn?: boolean;
}

/**
 * Reads a file of options. @throws ConfigError if it can't be read, is not YAML, or not a mapping
 */
export function readYaml(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readText(path);
  } catch (error) {
    throw new ConfigError([(error as Error).message.replace(`${path} `, '')], path);
  }
  return readOptions(text, path);
}

/**
 * Reads a value that is written as YAML.
 *
 * @param source words for where it stands, and `heading` for what is wrong there
 * @throws ConfigError that says where it can't be read
 */
export function readValue(
  text: string,
  source?: string,
  heading = 'the option is not valid',
): unknown {
  try {
    return parse(text, { logLevel: 'error' });
  } catch (error) {
    throw new ConfigError([`can't be read as YAML: ${yamlWords(error as Error)}`], source, heading);
  }
}

/** Reads a text of options. @throws ConfigError if it is not YAML, or not a mapping */
export function readOptions(text: string, path?: string): Record<string, unknown> {
  const input = readValue(text, path, 'the config is not valid');
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw new ConfigError(
      [`${input === null ? 'empty' : 'no mapping'}: options stand as "name: value"`],
      path,
    );
  return input as Record<string, unknown>;
}

const yamlWords = ({ name, message }: Error): string =>
  name === 'RangeError' || message.startsWith('Maximum call stack')
    ? 'its values lie too deep within each other'
    : message.startsWith('Excessive alias count')
      ? 'its aliases (*name) stand for far more values than are written: write them out'
      : message.replace(/:?\n.*/s, ''); // the lines that it quotes may hold a key

/**
 * @throws ConfigError with all problems at once
 */
export function checkConfig(
  input: ConfigInput,
  source?: string,
  { warn = true }: CheckOptions = {},
): Config {
  const unusable = unusableIn(input);
  if (unusable !== null) throw new ConfigError([unusable], source);
  const secrets = secretsIn(input);
  if (secrets.length > 0) throw new ConfigError(secrets, source);
  const names = presentNames(input);
  const read = configSchema.safeParse(names.options);
  const found = read.success
    ? withoutEffect(read.data)
    : issuesOf(read.error, configSchema, names.options);
  const problems = [...names.problems, ...asWritten(found, names)];
  if (!read.success || problems.length > 0) throw new ConfigError(problems, source);
  if (warn) warnOfOldNames(names, source);
  return read.data;
}

/** Returns an error for each option that differs from its default and would have no effect. */
function withoutEffect(config: Config): string[] {
  const problems: string[] = [];
  const sections = { critic_sft: 'critic-sft', critic_rl: 'critic-rl', joint: 'joint' } as const;
  for (const [section, stage] of Object.entries(sections) as [keyof typeof sections, StageName][]) {
    if (config.stages.includes(stage)) continue;
    if (JSON.stringify(config[section]) !== JSON.stringify(defaults[section])) {
      problems.push(`${section}: has no effect, for \`stages\` leaves ${stage} out`);
    }
  }
  problems.push(...ratesWithoutEffect(config));
  const { every, minutes, keep } = config.checkpoints;
  if (every === 0 && minutes === null && keep !== defaults.checkpoints.keep) {
    problems.push(
      'checkpoints.keep: has no effect with checkpoints.every: 0 and checkpoints.minutes: null',
    );
  }
  problems.push(...rewardsWithoutEffect(config.rewards, config.actor !== null));
  if (config.stages.includes('joint')) problems.push(...creditWithoutMeaning(config));
  if (config.actor === null && config.stages.includes('joint')) {
    problems.push('actor: joint training needs one; name its model');
  }
  if (
    config.actor === null &&
    config.stages.includes('critic-rl') &&
    config.critic_rl.actor_share > 0
  ) {
    problems.push(
      'critic_rl.actor_share: there is no actor; name its model in `actor`, or set it to 0',
    );
  }
  if (config.actor?.importance_sampling && config.actor.old_logprobs === 'sampler')
    problems.push(
      'actor.importance_sampling: has no effect with actor.old_logprobs: sampler; use recomputed',
    );
  problems.push(...drawsUnlike(config.actor, config.sampling));
  if (config.actor && !(config.actor.worker in config.workers)) {
    problems.push(
      `workers: has no "${config.actor.worker}" (it has ${Object.keys(config.workers).join(', ')})`,
    );
  }
  return problems;
}

/**
 * Returns errors for options of joint training that are in range, but would train from nothing or
 * with a wrong scale.
 */
function creditWithoutMeaning({ sampling, credit, actor }: Config): string[] {
  const problems: string[] = [];
  const { batch_size: count, num_generations: responses } = sampling;
  if (credit.scale === 'group-std' && responses < 2)
    problems.push('credit.scale: "group-std" needs at least 2 sampling.num_generations');
  if (actor && actor.minibatches > count * responses) {
    problems.push(
      `actor.minibatches: ${actor.minibatches} steps need at least as many responses, and an ` +
        `iteration has ${count * responses} (sampling.batch_size x sampling.num_generations)`,
    );
  }
  return problems;
}
