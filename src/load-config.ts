/** Reads and checks a run's config. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { type Config, type ConfigInput, configSchema } from './config.ts';
import { ConfigError, issuesOf } from './config-error.ts';

export interface LoadedConfig {
  readonly config: Config;
  /** Folder that paths to a user's own files are relative to. */
  readonly base: string;
}

export function loadConfigFile(path: string): LoadedConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError([`can't be read: ${(error as Error).message}`], path);
  }
  let input: unknown;
  try {
    input = parse(text);
  } catch (error) {
    throw new ConfigError([`not YAML: ${(error as Error).message}`], path);
  }
  return { config: checkConfig(input as ConfigInput, path), base: dirname(resolve(path)) };
}

/** @throws ConfigError with every problem at once */
export function checkConfig(input: ConfigInput, source?: string): Config {
  const read = configSchema.safeParse(input);
  if (!read.success) throw new ConfigError(issuesOf(read.error, configSchema, input), source);
  const problems = withoutEffect(read.data, input);
  if (problems.length > 0) throw new ConfigError(problems, source);
  return read.data;
}

/** Options that were given and would have no effect: an error, not a silence. */
function withoutEffect(config: Config, input: ConfigInput): string[] {
  const problems: string[] = [];
  const given = input as unknown as Record<string, Record<string, unknown> | undefined>;
  const critic = typeof config.critic === 'string' ? config.critic : config.critic.use;
  const sections = { critic_sft: 'critic-sft', critic_rl: 'critic-rl', joint: 'joint' } as const;
  for (const [section, stage] of Object.entries(sections)) {
    if (given[section] !== undefined && !config.stages.includes(stage)) {
      problems.push(`${section}: has no effect, for \`stages\` leaves ${stage} out`);
    }
  }
  if (critic === 'group-mean') {
    for (const stage of config.stages) {
      if (stage !== 'joint') problems.push(`stages: ${stage} has no effect with the critic "group-mean"; use [joint]`);
    }
    for (const option of ['critic', 'learning_rate', 'decay', 'warmup', 'final', 'max_grad_norm']) {
      if (given.joint?.[option] !== undefined) problems.push(`joint.${option}: has no effect with the critic "group-mean", which does not learn`);
    }
    for (const option of ['lambda', 'gamma']) {
      const value = given.credit?.[option];
      if (value !== undefined && value !== 1) problems.push(`credit.${option}: must be 1 with the critic "group-mean", whose value is the same in every state`);
    }
  }
  if (config.joint.critic === 'frozen') {
    for (const option of ['learning_rate', 'decay', 'warmup', 'final', 'max_grad_norm']) {
      if (given.joint?.[option] !== undefined) problems.push(`joint.${option}: has no effect with joint.critic: frozen`);
    }
  }
  if (config.credit.scale === 'group-std' && config.sampling.responses < 2) {
    problems.push('credit.scale: "group-std" needs at least 2 sampling.responses');
  }
  if (config.actor === null && config.stages.includes('joint')) {
    problems.push('actor: joint training needs one; name its model');
  }
  const workers = [config.actor?.worker, ...(typeof config.critic === 'string' ? [] : [config.critic.worker])];
  for (const worker of workers) {
    if (typeof worker === 'string' && !(worker in config.workers)) {
      problems.push(`workers: has no "${worker}" (it has ${Object.keys(config.workers).join(', ')})`);
    }
  }
  return problems;
}
