/** A reward function in a user's own TypeScript file. */
import { existsSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { ConfigError } from '../config/error.ts';
import type { RewardOptions } from '../config/rewards.ts';
import { importOwn } from '../extensions/import-user-file.ts';
import type { Response } from '../task.ts';
import { UserError } from '../user-error.ts';
import type { RewardFunction } from './reward-function.ts';

/** Returns a number, by default in [0, 1], or null if the function does not apply. May be async. */
export type Score = (response: Response) => number | null | Promise<number | null>;

export interface Reward {
  /** Name in metrics. */
  readonly name: string;
  readonly score: Score;
}

/** Types a user's file: `export default defineReward({ name, score })`. */
export function defineReward(reward: Reward): Reward {
  return reward;
}

/**
 * @throws ConfigError with the path `where` if the file is missing, can't be loaded or has no
 *   reward function
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
 * A plain function has the name of its file, because the internal name of a default export depends
 * on the loader.
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
