/** A reward function of a user's own TypeScript file. */
import { existsSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { ConfigError } from '../config/error.ts';
import type { RewardOptions } from '../config/rewards.ts';
import { importOwn } from '../extensions/import-user-file.ts';
import type { Response } from '../task.ts';
import { UserError } from '../user-error.ts';
import type { RewardFunction } from './reward-function.ts';

/**
 * A number, by default in [0, 1], or null: this response is none of the function's business. May be
 * async.
 */
export type Score = (response: Response) => number | null | Promise<number | null>;

export interface Reward {
  /** In metrics. */
  readonly name: string;
  readonly score: Score;
}

/** For a file of one's own: `export default defineReward({ name, score })`. */
export function defineReward(reward: Reward): Reward {
  return reward;
}

/**
 * @throws ConfigError, its path `where`, if the file is not there, can't be loaded or has no reward
 * function
 */
export async function loadTypescriptReward(
  file: string,
  options: RewardOptions,
  where: string,
): Promise<RewardFunction> {
  if (!existsSync(file)) throw new ConfigError([`${where}: there is no file ${file}`]);
  const module = (await importOwn(file).catch((error: Error) => {
    throw new ConfigError([`${where}: ${file} can't be loaded: ${error.message}`]);
  })) as { default?: unknown };
  const own = rewardOf(module.default, file);
  if (!own) {
    throw new ConfigError([
      `${where}: ${file} has no default export that is a function of a response, or made by ` +
        'defineReward({ name, score })',
    ]);
  }
  const name = options.name ?? own.name;
  return {
    name,
    async score(response) {
      const { timeout } = options;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          const { id } = response.problem;
          reject(
            new UserError(
              `the reward function "${name}" (${file}) had no answer for problem ${id} after ${timeout} s: ` +
                `make it faster, or raise ${where}.timeout`,
            ),
          );
        }, timeout * 1000);
      });
      try {
        return await Promise.race([scored(own.score, response, name, file), late]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

async function scored(
  score: Score,
  response: Response,
  name: string,
  file: string,
): Promise<unknown> {
  try {
    return await score(response);
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    throw new UserError(
      `the reward function "${name}" (${file}) failed on problem ${response.problem.id}: ${words}`,
      { cause: error },
    );
  }
}

/**
 * A plain function has the name of its file: what a default export is called inside depends on what
 * loads it.
 */
function rewardOf(exported: unknown, file: string): Reward | null {
  if (typeof exported === 'function') {
    return { name: basename(file, extname(file)), score: exported as Score };
  }
  const reward = exported as Partial<Reward> | null | undefined;
  return typeof reward?.name === 'string' && typeof reward.score === 'function'
    ? (reward as Reward)
    : null;
}
