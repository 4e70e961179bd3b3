/**
 * Problems whose prompts fit the actor: what doesn't is an error, or dropped and counted, and never
 * cut.
 */

import type { Config } from '../config/schema.ts';
import { withColumns } from '../rewards/columns.ts';
import type { Split } from '../task.ts';
import type { Problem } from '../types.ts';
import { UserError } from '../user-error.ts';
import { actorOf, type Training } from './context.ts';
import { promptIdsOf } from './prompt-ids.ts';

export interface FittingProblems {
  /** In the order of the task; at least one. */
  readonly problems: readonly Problem[];
  /** How many were dropped. */
  readonly overlong: number;
}

export interface PromptLimit {
  readonly tokens: number;
  /** Where it comes from. */
  readonly because: string;
}

/**
 * Tokens that a prompt may have; null: there is no limit that is known.
 *
 * @param context of the actor; null: its architecture has no such limit
 * @throws where the options leave no room for a prompt in the context
 */
export function promptLimit(
  sampling: Config['sampling'],
  context: number | null,
): PromptLimit | null {
  const { max_prompt_tokens: asked, max_new_tokens: response } = sampling;
  if (context !== null && (asked ?? 1) + response > context) {
    const prompt = asked === null ? '' : `sampling.max_prompt_tokens (${asked}) and `;
    throw new UserError(
      `${prompt}sampling.max_new_tokens (${response}) ${asked === null ? 'leaves' : 'leave'} no room in the actor's context of ${context} tokens: lower ` +
        `${asked === null ? 'it' : 'one of them'}, or take an actor with a longer context`,
    );
  }
  if (asked !== null) return { tokens: asked, because: 'sampling.max_prompt_tokens' };
  if (context === null) return null;
  return {
    tokens: context - response,
    because: `the actor's context of ${context} less sampling.max_new_tokens, ${response}`,
  };
}

/**
 * Problems number `from` .. `from + count - 1` of a split that fit, by `sampling.overlong_prompts`.
 */
export async function fittingProblems(
  training: Training,
  split: Split,
  from: number,
  count: number,
): Promise<FittingProblems> {
  const { task, config } = training;
  const all = (await task.problems(split, config.seed, from, count)).map(withColumns);
  const { model } = actorOf(training);
  const limit = promptLimit(config.sampling, model.loaded.context_length);
  if (limit === null || all.length === 0) return { problems: all, overlong: 0 };
  const lengths = (await promptIdsOf(model, all)).map((ids) => ids.length);
  const overlong = all.flatMap(({ id }, i) =>
    lengths[i]! > limit.tokens ? [`problem ${id} with ${lengths[i]} tokens`] : [],
  );
  if (overlong.length === 0) return { problems: all, overlong: 0 };
  const named = overlong.slice(0, 5).join(', ') + (overlong.length > 5 ? ', ...' : '');
  const found =
    `${overlong.length} of ${all.length} prompts (${split}, number ${from} on) have more than ` +
    `${limit.tokens} tokens (${limit.because}): ${named}`;
  if (config.sampling.overlong_prompts === 'error') {
    throw new UserError(
      `${found}. Shorten them, make room, or set sampling.overlong_prompts: drop to go on ` +
        'without them',
    );
  }
  if (overlong.length === all.length)
    throw new UserError(`${found}. None is left to go on with: make room`);
  return { problems: all.filter((_, i) => lengths[i]! <= limit.tokens), overlong: overlong.length };
}
