/** Refuses a config that its critic can't serve, before any model is loaded. */

import type { CriticPlugin } from '../critic.ts';
import { changedOptions, defaults, updatesWithoutEffect } from './changed.ts';
import { ConfigError } from './error.ts';
import type { Config } from './schema.ts';

export type CheckedCritic = Pick<
  CriticPlugin,
  'name' | 'needs' | 'learns' | 'imitates' | 'continues'
>;

/**
 * @throws ConfigError with all problems at once
 */
export function refuseForCritic(config: Config, critic: CheckedCritic): void {
  const problems = [
    ...stagesWithoutEffect(config, critic),
    ...(config.stages.includes('joint') ? jointProblems(config, critic) : []),
  ];
  if (problems.length > 0) throw new ConfigError(problems);
}

function stagesWithoutEffect(
  { stages }: Config,
  { name, needs, learns, imitates }: CheckedCritic,
): string[] {
  const able = { 'critic-sft': imitates ?? false, 'critic-rl': learns ?? false, joint: true };
  const why = { 'critic-sft': "can't imitate an oracle", 'critic-rl': 'does not learn', joint: '' };
  return stages
    .filter((stage) => !able[stage])
    .map((stage) =>
      needs === 'outcomes'
        ? `stages: ${stage} has no effect with the critic "${name}"; use [joint]`
        : `stages: the critic "${name}" ${why[stage]}: leave ${stage} out`,
    );
}

function jointProblems(config: Config, critic: CheckedCritic): string[] {
  const { name, needs, continues } = critic;
  const { sampling, credit, gates } = config;
  const problems: string[] = [];
  if (continues && config.actor === null)
    problems.push(
      `critic: "${name}" lets the actor continue responses, and there is no actor: name its model in \`actor\``,
    );
  problems.push(...updatesWithoutEffect(config, critic));
  if (needs === 'outcomes') {
    problems.push(
      ...changedOptions(
        config,
        'credit',
        ['lambda', 'gamma'],
        `must be 1 with the critic "${name}", whose value is the same in every state`,
      ),
    );
    // A gate that is off is fine. A changed threshold is not, because nothing would be compared
    // with it.
    const { joint } = gates;
    if (joint !== null && JSON.stringify(joint) !== JSON.stringify(defaults.gates.joint))
      problems.push(
        `gates.joint: has no effect with the critic "${name}", which has none: leave it out`,
      );
  }
  const comparison = needs === 'outcomes' || gates.explained_variance;
  if (sampling.num_generations < 2 && comparison) {
    const advice =
      needs === 'outcomes' ? `with the critic "${name}"` : 'or set gates.explained_variance: false';
    const separator = needs === 'outcomes' ? ' ' : ', ';
    problems.push(
      'sampling.num_generations: 1 leaves a group mean nothing to compare with; use at least ' +
        `2${separator}${advice}`,
    );
  }
  if (needs === 'states' && credit.scale === 'group-std') {
    problems.push(
      `credit.scale: "group-std" is for the group's own mean as baseline, and would blow up ` +
        `groups whose rewards hardly differ; use "batch-std" with the critic "${name}"`,
    );
  }
  problems.push(...discountProblems(critic, credit.gamma));
  return problems;
}

/** A critic that learns from rewards learns the chance of success, which has no discount. */
export function discountProblems(
  { name, learns }: CheckedCritic,
  gamma: number,
  inTrl = '',
): string[] {
  if (!learns || gamma === 1) return [];
  return [
    `credit.gamma${inTrl && ` (TRL: ${inTrl})`}: must be 1 with the critic "${name}": its value is the chance of success, which is not discounted; use ${inTrl ? 'lambda (TRL: lam)' : 'credit.lambda'} to weigh later segments less`,
  ];
}
