/** What a response earned: the task's own reward, or the config's `rewards`, combined and held to [0, 1]. */
import type { Response, Task } from './task.ts';

export interface Judgement {
  /** In [0, 1]. */
  readonly reward: number;
  /** What each reward function gave, by its name; null: not applicable. Empty where the task's own reward judged. */
  readonly parts: Readonly<Record<string, number | null>>;
}

export type Judge = (response: Response) => Promise<Judgement>;

/** The task's own reward as a judge. */
export function judgeOfTask(task: Task): Judge {
  return async (response) => ({ reward: await judge(task, response), parts: {} });
}

/** The task's own reward of a response, held to [0, 1]. Anything else is an error that names task, problem and value. */
export async function judge(task: Task, response: Response): Promise<number> {
  if (!task.reward) {
    throw new Error(`the task "${task.name}" has no reward of its own: name \`rewards\` in the config`);
  }
  let reward: unknown;
  try {
    reward = await task.reward(response);
  } catch (error) {
    throw new Error(
      `the reward function of task "${task.name}" failed on problem ${response.problem.id}: ${(error as Error).message}`,
      { cause: error },
    );
  }
  if (typeof reward === 'number' && reward >= 0 && reward <= 1) return reward;
  const given = typeof reward === 'number' ? reward : `${JSON.stringify(reward)} (${typeof reward})`;
  throw new Error(
    `the reward function of task "${task.name}" returned ${given} for problem ${response.problem.id}: ` +
      'a reward is a number in [0, 1]; rescale it in the function',
  );
}
