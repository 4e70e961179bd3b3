/** What is left of a task whose own reward the config's `rewards` replace. */
import { ConfigError } from '../config/error.ts';
import type { Config } from '../config/schema.ts';
import type { Task } from '../task.ts';

/** Hooks whose rewards, values and scores are by the task's own reward. */
const judged = ['oracleTraces', 'frozenRollouts', 'referenceStates'] as const;

/** All others. `exactValues` is refused where it is asked for, with a reason of its own. */
const kept = [
  ...(['name', 'prepare', 'problems', 'segmentation', 'criticFormat', 'exactValues'] as const),
  ...(['stateClass', 'makeModel'] as const),
] as const;

/** The config's own, if there are any. */
interface Rewarded {
  readonly rewards: readonly unknown[];
}

/**
 * One run has one reward: where the config's `rewards` replace the task's own, nothing is used that
 * the task judged by its own. The critic then learns from the actor's responses alone. A task
 * without a reward of its own brings rollouts that others judged, and stays as it is.
 */
export function underRewards(task: Task, { rewards }: Rewarded): Task {
  if (rewards.length === 0 || !task.reward) return task;
  const own = kept.flatMap((name) => {
    const value: unknown = task[name];
    if (value === undefined) return [];
    return [[name, typeof value === 'function' ? value.bind(task) : value] as const];
  });
  return Object.fromEntries(own) as unknown as Task;
}

/**
 * @param given the task before `underRewards`
 * @throws ConfigError if stage 1 would imitate scores of another reward
 */
export function refuseTracesOfAnotherReward(
  { stages, critic_sft, rewards }: Pick<Config, 'stages' | 'critic_sft'> & Rewarded,
  given: Task,
): void {
  const imitates = stages.includes('critic-sft') && critic_sft.traces === 'oracle';
  if (!imitates || !given.oracleTraces || underRewards(given, { rewards }) === given) return;
  throw new ConfigError([
    `critic_sft.traces: the oracle of the task "${given.name}" scores by the task's own reward, ` +
      'which `rewards` replace: name a file of traces or a model behind an API, or leave ' +
      'critic-sft out of `stages`',
  ]);
}

/** Says what the task brings and a run of these rewards does not use; empty: nothing. */
export function leftOut(given: Task, config: Rewarded): string[] {
  const names = judged.filter((name) => given[name] !== undefined);
  if (underRewards(given, config) === given || names.length === 0) return [];
  return [
    `rewards: they replace the reward of the task "${given.name}", so what it judged by its own ` +
      `is not used (${names.join(', ')}): the critic learns from the actor's responses alone`,
  ];
}
