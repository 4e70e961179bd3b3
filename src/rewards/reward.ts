/**
 * Computes the reward of a response: the task's own, or the config's `rewards`, combined and
 * checked to be in [0, 1].
 */
import { existsSync } from 'node:fs';
import { ConfigError } from '../config/error.ts';
import { kindOf, type RewardOptions } from '../config/rewards.ts';
import type { Config } from '../config/schema.ts';
import { toUnit } from '../math/unit.ts';
import type { Response, Task } from '../task.ts';
import type { Problem } from '../types.ts';
import { UserError } from '../user-error.ts';
import type { PythonFunctions } from '../workers/python-functions.ts';
import { valueAt } from './columns.ts';
import { PythonRewards, trlKeywords } from './python-reward.ts';
import { NotANumber, type RewardFunction } from './reward-function.ts';
import { loadTypescriptReward } from './typescript-reward.ts';

export { defineReward, type Reward, type Score } from './typescript-reward.ts';

export interface RewardResult {
  /** In [0, 1]. */
  readonly reward: number;
  /**
   * The result of each reward function by its name, before rescaling; null: not applicable. Empty
   * if the task's own reward was used.
   */
  readonly parts: Readonly<Record<string, number | null>>;
}

export type RewardOf = (response: Response) => Promise<RewardResult>;

/** Computes the rewards of a run. */
export interface RunReward {
  readonly rewardOf: RewardOf;
  /** True: a reward function runs in the worker `python`. */
  readonly usesPython: boolean;
  /**
   * Called once when the workers run, before models are loaded. Throws what is wrong with a Python
   * function, or with a column that a function needs.
   *
   * @param problem an example of the problems; null (default): none is known
   */
  prepare(problem?: Problem | null): Promise<void>;
}

/** Largest number of responses of one call to a Python function. */
const batch = { python: 64, mathVerify: 8 };

/**
 * Makes the rewards of a run: the config's `rewards` if there are any, else the task's own reward.
 *
 * @param base folder that paths are relative to: that of the config file
 * @throws ConfigError if there is no reward at all, and for every fault that is known without a
 *   worker
 */
export async function makeReward(
  config: Pick<Config, 'rewards' | 'actor'>,
  task: Task,
  base: string,
  python: PythonFunctions,
): Promise<RunReward> {
  if (config.rewards.length === 0) {
    if (!task.reward && config.actor !== null) {
      throw new ConfigError([
        `rewards: the task "${task.name}" has no reward of its own: name at least one function, such as { use: ./reward.ts }, ` +
          '{ use: ./rewards.py:function } or { use: math-verify }',
      ]);
    }
    return { rewardOf: rewardOfTask(task), usesPython: false, prepare: async () => {} };
  }
  const pythons = new PythonRewards(python);
  const loaded = await Promise.all(
    config.rewards.map((options, i) => load(options, `rewards.${i}`, base, pythons)),
  );
  const names = loaded.map(({ name }) => name);
  const twice = names.filter((name, i) => names.indexOf(name) < i);
  if (twice.length > 0) {
    throw new ConfigError(
      twice.map((name) => `rewards: two are named "${name}"; give one another \`name\``),
    );
  }
  const usesPython = loaded.some(({ prepare }) => prepare !== undefined);
  return {
    rewardOf: combine(task.name, loaded, config.rewards),
    usesPython,
    async prepare(problem = null) {
      for (const reward of loaded) await reward.prepare?.(problem);
    },
  };
}

function load(
  options: RewardOptions,
  where: string,
  base: string,
  pythons: PythonRewards,
): RewardFunction | Promise<RewardFunction> {
  const { use, timeout } = options;
  const kind = kindOf(use, base);
  if (typeof kind === 'string') throw new ConfigError([`${where}.use: "${use}": ${kind}`]);
  if (kind.kind === 'typescript') return loadTypescriptReward(kind.file, options, where);
  if (kind.kind === 'math-verify') {
    const { column, conventions } = options;
    const module = 'genac_bridge.functions.math_verifier';
    const refuseWithout = (problem: Problem) => {
      if (valueAt(problem.columns, column) === undefined)
        throw new UserError(noColumn(where, column, problem));
    };
    return pythons.add({
      ...{ use, where, timeout, name: options.name ?? use, batch: batch.mathVerify },
      prepare: (problem) => {
        if (problem) refuseWithout(problem);
        return [`${module}:prepare`, {}];
      },
      call: (responses) => {
        for (const { problem } of responses) refuseWithout(problem);
        const references = responses.map(({ problem }) => valueAt(problem.columns, column)!);
        const texts = responses.map(({ text }) => text);
        return [`${module}:judge`, { texts, references, conventions, seconds: timeout / 20 }];
      },
    });
  }
  const { target, file } = kind;
  if (file && !existsSync(file)) throw new ConfigError([`${where}.use: there is no file ${file}`]);
  const module = 'genac_bridge.functions.rewards';
  return pythons.add({
    ...{ use, where, timeout, batch: batch.python },
    name: options.name ?? target.slice(target.lastIndexOf(':') + 1),
    prepare: (problem) => [
      `${module}:prepare`,
      { function: target, columns: problem && Object.keys(problem.columns).sort() },
    ],
    call: (responses) => [`${module}:judge`, { function: target, ...trlKeywords(responses) }],
  });
}

function noColumn(where: string, column: string, problem: Problem): string {
  const there = Object.keys(problem.columns);
  return (
    `${where}.column: problem ${problem.id} has no column "${column}" (it has ` +
    `${there.join(', ') || 'none'})`
  );
}

/**
 * Returns the weighted mean over the functions that apply: sum of w r / sum of w. The functions run
 * concurrently.
 */
function combine(
  task: string,
  functions: readonly RewardFunction[],
  options: readonly RewardOptions[],
): RewardOf {
  return async (response) => {
    const { id } = response.problem;
    const values = await Promise.all(functions.map((reward) => reward.score(response)));
    const parts: Record<string, number | null> = {};
    let [sum, weights] = [0, 0];
    for (const [i, { name }] of functions.entries()) {
      const { rescale, weight } = options[i]!;
      const value = values[i];
      parts[name] = null;
      if (value === null) continue;
      const unit = toUnit(value, rescale ?? [0, 1]);
      if (unit === null) {
        const problem =
          `the reward function "${name}" returned ${words(value)} for problem ${id} of task ` +
          `"${task}"`;
        throw new UserError(`${problem}: ${remedy(value, rescale, `rewards.${i}.rescale`)}`);
      }
      parts[name] = value as number;
      sum += weight * unit;
      weights += weight;
    }
    if (weights === 0) {
      const names = functions.map(({ name }) => `"${name}"`).join(', ');
      const verb = functions.length > 1 ? 'all returned' : 'returned';
      throw new UserError(
        `no reward function applies to problem ${id} of task "${task}": ${names} ${verb} null; ` +
          'name one that applies in `rewards`, or leave the problem out',
      );
    }
    return { reward: sum / weights, parts };
  };
}

function words(value: unknown): string {
  if (value instanceof NotANumber) return value.words;
  return typeof value === 'number' ? String(value) : `${JSON.stringify(value)} (${typeof value})`;
}

function remedy(value: unknown, rescale: readonly [number, number] | null, where: string): string {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    return (
      'a reward is a number, or null where the function does not apply; `rescale` maps any ' +
      'other range than [0, 1] to it'
    );
  }
  return rescale
    ? `outside ${where}: [${rescale.join(', ')}], which says what the function's range is`
    : `a reward is a number in [0, 1]; if the function has another range, name it: ${where}: ` +
        '[LOW, HIGH]';
}

/** Wraps the task's own reward. */
export function rewardOfTask(task: Task): RewardOf {
  return async (response) => ({ reward: await rewardOf(task, response), parts: {} });
}

/**
 * Returns the task's own reward of a response, in [0, 1]. Any other result is an error that names
 * task, problem and value.
 */
export async function rewardOf(task: Task, response: Response): Promise<number> {
  if (!task.reward) {
    throw new UserError(
      `the task "${task.name}" has no reward of its own: name \`rewards\` in the config`,
    );
  }
  let reward: unknown;
  try {
    reward = await task.reward(response);
  } catch (error) {
    throw new UserError(
      `the reward function of task "${task.name}" failed on problem ${response.problem.id}: ` +
        `${(error as Error).message}`,
      { cause: error },
    );
  }
  const unit = toUnit(reward);
  if (unit !== null) return unit;
  const given =
    typeof reward === 'number' ? reward : `${JSON.stringify(reward)} (${typeof reward})`;
  throw new UserError(
    `the reward function of task "${task.name}" returned ${given} for problem ${response.problem.id}: ` +
      'a reward is a number in [0, 1]; rescale it in the function',
  );
}
