/**
 * Reward functions in the worker `python`: called for one response at a time, executed in batches.
 */
import { setImmediate } from 'node:timers';
import { BridgeError, reasonOf } from '../bridge/errors.ts';
import { groupBy } from '../math/statistics.ts';
import type { Response } from '../task.ts';
import type { Json, Problem } from '../types.ts';
import { UserError } from '../user-error.ts';
import type { PythonFunctions } from '../workers/python-functions.ts';
import { NotANumber, type RewardFunction } from './reward-function.ts';

export interface PythonReward {
  readonly name: string;
  /** The function as the config names it. */
  readonly use: string;
  /** The option's path in the config, such as `rewards.0`. */
  readonly where: string;
  /** Seconds until a call is given up. */
  readonly timeout: number;
  /**
   * Largest number of responses of one call, so that the time of a call does not depend on the size
   * of an iteration.
   */
  readonly batch: number;
  /** Python function and keywords that check the reward function and load what it needs. */
  readonly prepare: (
    problem: Problem | null,
  ) => readonly [name: string, keywords: Record<string, Json>];
  /**
   * Python function and keywords that score some responses, whose problems have the same columns.
   */
  readonly call: (
    responses: readonly Response[],
  ) => readonly [name: string, keywords: Record<string, Json>];
}

interface Asked {
  readonly response: Response;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Makes reward functions that share the one worker, one call at a time, so that the measured
 * seconds of a function are its own. Requests of one pass of the event loop, and those during
 * another call, go into one call. After a deadline or the loss of the worker all pending requests
 * fail with the same error.
 */
export class PythonRewards {
  readonly #python: PythonFunctions;
  readonly #waiting = new Map<PythonReward, Asked[]>();
  #running = false;
  #broken: Error | null = null;

  constructor(python: PythonFunctions) {
    this.#python = python;
  }

  add(reward: PythonReward): RewardFunction {
    const waiting: Asked[] = [];
    this.#waiting.set(reward, waiting);
    return {
      name: reward.name,
      prepare: async (problem) => {
        await this.#call(reward, reward.prepare(problem), 'while it was loaded', 300);
      },
      score: (response) =>
        new Promise((resolve, reject) => {
          waiting.push({ response, resolve, reject });
          if (this.#running) return;
          this.#running = true;
          setImmediate(() => void this.#serve());
        }),
    };
  }

  /** Serves the functions in turn until nothing waits. Never rejects. */
  async #serve(): Promise<void> {
    for (let served = true; served; ) {
      served = false;
      for (const [reward, waiting] of this.#waiting) {
        if (waiting.length === 0) continue;
        served = true;
        // Problems with the same columns share a batch: a keyword then exists for all of it or for
        // none, as it does for a single response.
        const together = groupBy(waiting, ({ response }) => columnsOf(response).join('\n'));
        const [first] = together.values();
        const batch = first!.slice(0, reward.batch);
        const left = waiting.filter((asked) => !batch.includes(asked));
        waiting.splice(0, waiting.length, ...left);
        await this.#answer(reward, batch);
      }
    }
    this.#running = false;
  }

  async #answer(reward: PythonReward, batch: readonly Asked[]): Promise<void> {
    try {
      const ids = [...new Set(batch.map(({ response }) => response.problem.id))];
      const problems = `on problem${ids.length > 1 ? 's' : ''} ${ids.slice(0, 3).join(', ')}${ids.length > 3 ? `, and ${ids.length - 3} more` : ''}`;
      const call = reward.call(batch.map(({ response }) => response));
      const answers = await this.#call(reward, call, problems, reward.timeout);
      if (!Array.isArray(answers) || answers.length !== batch.length) {
        throw new UserError(
          `the reward function ${title(reward)} did not answer for each of ${batch.length}`,
        );
      }
      for (const [i, { resolve }] of batch.entries()) resolve(readAnswer(answers[i]!));
    } catch (error) {
      for (const { reject } of batch) reject(error as Error);
    }
  }

  async #call(
    reward: PythonReward,
    [name, keywords]: readonly [string, Record<string, Json>],
    on: string,
    seconds: number,
  ): Promise<Json> {
    if (this.#broken) throw this.#broken;
    try {
      return await this.#python.call(name, keywords, { deadlineMs: seconds * 1000 });
    } catch (error) {
      const code = error instanceof BridgeError ? error.code : null;
      const failure =
        code === 'deadline'
          ? new UserError(
              `the reward function ${title(reward)} had no answer after ${seconds} s, ${on}: ` +
                `make it faster, or raise ${reward.where}.timeout`,
              { cause: error },
            )
          : new UserError(`the reward function ${title(reward)} failed ${on}: ${reasonOf(error)}`, {
              cause: error,
            });
      if (code === 'deadline' || code === 'worker_lost') this.#broken = failure;
      throw failure;
    }
  }
}

const title = ({ name, use }: PythonReward) => `"${name}" (${use})`;

/** Names of a problem's columns, sorted. */
export const columnsOf = ({ problem }: Response): string[] => Object.keys(problem.columns).sort();

function readAnswer(answer: Json): unknown {
  if (typeof answer === 'object' && answer !== null && 'not_a_number' in answer) {
    return new NotANumber(String(answer.not_a_number));
  }
  return answer;
}

/** The keywords of TRL's reward functions. */
export function trlKeywords(responses: readonly Response[]): Record<string, Json> {
  const columns = columnsOf(responses[0]!);
  return {
    prompts: responses.map(({ problem: { prompt } }) =>
      typeof prompt === 'string' ? prompt : prompt.map((message) => ({ ...message })),
    ),
    completions: responses.map(({ text, problem }) =>
      typeof problem.prompt === 'string' ? text : [{ role: 'assistant', content: text }],
    ),
    completion_ids: responses.map(({ completionIds }) =>
      completionIds ? [...completionIds] : null,
    ),
    columns: Object.fromEntries(
      columns.map((column) => [column, responses.map(({ problem }) => problem.columns[column]!)]),
    ),
  };
}
