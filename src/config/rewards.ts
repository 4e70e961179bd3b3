/** One entry of a config's `rewards`, and the kind of function that its `use` names. */
import { z } from 'zod';
import { isWrittenAsPath, pathFrom } from '../files/paths.ts';
import { nearest } from './error.ts';

export const mathVerify = 'math-verify';

export const rewardSchema = z.strictObject({
  /** `./reward.ts`, `./rewards.py:function`, `package.module:function`, or `math-verify`. */
  use: z.string().min(1),
  /** Name in metrics; null: the function's own. */
  name: z
    .string()
    .regex(/^[^\s/]+$/, 'a name has no spaces and no slashes, for it is part of metric names')
    .nullable()
    .default(null),
  /** Weight in the mean of the functions that apply. */
  weight: z.number().positive().default(1),
  /** The function's own range [low, high], mapped linearly to [0, 1]; null: it is [0, 1]. */
  rescale: z
    .tuple([z.number(), z.number()])
    .refine(([low, high]) => low < high, 'the lowest value first, then a higher one')
    .nullable()
    .default(null),
  /** Seconds until a call is given up: for one response in TypeScript, for one batch in Python. */
  timeout: z.number().positive().max(1e6).default(60),
  /**
   * math-verify: name or path (`reward_model.ground_truth`) of the column with the reference
   * answer.
   */
  column: z.string().min(1).default('answer'),
  /**
   * math-verify: where it looks for answers, in this order: `\boxed{}`, after `####`, the last
   * number.
   */
  conventions: z
    .array(z.enum(['boxed', 'hashes', 'number']))
    .min(1)
    .default(['boxed', 'hashes', 'number']),
});

export type RewardOptions = z.infer<typeof rewardSchema>;

/** The function that `use` names; paths are absolute. */
export type RewardKind =
  | { readonly kind: 'math-verify' }
  | { readonly kind: 'typescript'; readonly file: string }
  | { readonly kind: 'python'; readonly target: string; readonly file: string | null };

/**
 * @returns the kind, or a text that says what is wrong
 */
export function kindOf(use: string, base: string): RewardKind | string {
  if (use === mathVerify) return { kind: 'math-verify' };
  const python = /^(.+\.py):([\w.]+)$/.exec(use);
  if (python) {
    const file = pathFrom(base, python[1]!);
    return { kind: 'python', target: `${file}:${python[2]}`, file };
  }
  if (use.endsWith('.py')) return `name the function as well: ${use}:FUNCTION`;
  if (isWrittenAsPath(use)) return { kind: 'typescript', file: pathFrom(base, use) };
  if (/^[\w.]+:[\w.]+$/.test(use)) return { kind: 'python', target: use, file: null };
  const hint = nearest(use, [mathVerify]) ? `; did you mean "${mathVerify}"?` : '';
  return (
    `is none of "${mathVerify}", ./reward.ts, ./rewards.py:function and ` +
    `package.module:function${hint}`
  );
}

/** Returns an error for each option that has no effect on a function of this kind. */
export function rewardsWithoutEffect(
  rewards: readonly RewardOptions[],
  hasActor: boolean,
): string[] {
  const problems: string[] = [];
  if (rewards.length > 0 && !hasActor) {
    problems.push('rewards: has no effect, for there is no actor whose responses they would judge');
  }
  const defaults = rewardSchema.parse({ use: mathVerify });
  for (const [i, reward] of rewards.entries()) {
    if (reward.use === mathVerify) continue;
    for (const option of ['column', 'conventions'] as const) {
      if (JSON.stringify(reward[option]) === JSON.stringify(defaults[option])) continue;
      problems.push(`rewards.${i}.${option}: is an option of "${mathVerify}" alone`);
    }
  }
  return problems;
}
