/** What is left of a task whose own reward the config's `rewards` replace. */
import { ConfigError } from '../config/error.ts';
import type { Config, StageName } from '../config/schema.ts';
import type { Task } from '../task.ts';

/** Hooks whose rewards, values and scores are by the task's own reward. */
const judged = ['oracleTraces', 'frozenRollouts', 'referenceStates'] as const;
/** `exactValues` stays: it is refused where it is asked for, with a reason of its own. */
const hidden: ReadonlySet<unknown> = new Set<keyof Task>(['reward', ...judged]);

/** The config's own, if there are any. */
interface Rewarded {
  readonly rewards: readonly unknown[];
}

/**
 * One run has one reward: where the config's `rewards` replace the task's own, nothing is used that
 * the task judged by its own. Stage 2 then learns from the actor's responses alone. A task without
 * a reward of its own brings rollouts that others judged, and stays as it is.
 */
export function underRewards(task: Task, { rewards }: Rewarded): Task {
  if (rewards.length === 0 || !task.reward) return task;
  // Read when it is used, for `prepare` may set it. Methods work on the task itself, which may be
  // an instance with private fields.
  return new Proxy({} as Task, {
    get(_, name) {
      const value: unknown = hidden.has(name) ? undefined : Reflect.get(task, name, task);
      return typeof value === 'function' ? value.bind(task) : value;
    },
    has: (_, name) => !hidden.has(name) && Reflect.has(task, name),
  });
}

/**
 * @param given the task before `underRewards`
 * @param done where a run goes on from; null: from its beginning
 * @throws ConfigError if stage 1 would imitate scores of another reward
 */
export function refuseTracesOfAnotherReward(
  { stages, critic_sft, rewards }: Pick<Config, 'stages' | 'critic_sft'> & Rewarded,
  given: Task,
  done: { readonly stage: StageName; readonly complete: boolean } | null = null,
): void {
  const ahead = stages.slice(done ? stages.indexOf(done.stage) + (done.complete ? 1 : 0) : 0);
  const imitates = ahead.includes('critic-sft') && critic_sft.traces === 'oracle';
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
      `is not used (${names.join(', ')})`,
  ];
}
