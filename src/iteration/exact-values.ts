/** Exact values of states under the actor's current weights, where the task knows them. */
import type { Config } from '../config/schema.ts';
import type { LanguageModel } from '../language-model.ts';
import type { ActorProbe, Task } from '../task.ts';
import { wholeProblem } from '../text/blind-problem.ts';
import type { State } from '../types.ts';
import { UserError } from '../user-error.ts';

/** One value for each state, in order. */
export type ExactValues = (states: readonly State[]) => Promise<readonly number[]>;

/** What a value depends on beside the weights. */
export interface ValueConditions {
  readonly sampling: Pick<
    Config['sampling'],
    'temperature' | 'top_p' | 'top_k' | 'stop_strings' | 'max_new_tokens'
  >;
  readonly rewards: readonly unknown[];
}

/** Why values that a task knows are none where the config has `rewards`. */
export const ofAnotherReward = 'rewards: replaces the reward whose values the task knows';

/**
 * Why there are no exact values; null: there are. A task knows those of its own reward, and of
 * whole distributions of next tokens.
 */
export function noExactValues(
  task: Pick<Task, 'name' | 'exactValues'>,
  { sampling: { top_p, top_k, stop_strings }, rewards }: ValueConditions,
): string | null {
  if (task.exactValues === undefined) return `the task "${task.name}" knows none`;
  if (rewards.length > 0) return ofAnotherReward;
  if (top_p !== null || top_k !== null)
    return 'sampling.top_p and sampling.top_k sample from less than the task values';
  return stop_strings.length > 0 ? 'sampling.stop_strings: the task knows nothing of them' : null;
}

const describe = (values: unknown, wrong: unknown): string =>
  !Array.isArray(values)
    ? `a ${typeof values}`
    : wrong === undefined
      ? `${values.length} values`
      : `the value ${wrong}`;

/** @param conditions as they are when values are asked for. @returns null: there are none */
export function exactValuesOf(
  task: Task,
  actor: LanguageModel,
  conditions: () => ValueConditions,
): ExactValues | null {
  const { exactValues } = task;
  if (!exactValues || noExactValues(task, conditions()) !== null) return null;
  return async (states) => {
    const { temperature, max_new_tokens } = conditions().sampling;
    const probe: ActorProbe = {
      maxNewTokens: max_new_tokens,
      async choices(prompts, beginnings, answers, ends = false) {
        if (prompts.length === 0) return [];
        const begun = await actor.tokenize(prompts, beginnings);
        const short = await actor.tokenize(
          answers.map(() => prompts[0]!),
          answers,
        );
        const { eos_token_id: eos } = actor.loaded;
        const ids = short.map(({ completionIds }) => [...completionIds]);
        if (ends && eos !== null) for (const own of ids) if (own.at(-1) !== eos) own.push(eos);
        return actor.choices(begun, ids, temperature);
      },
    };
    const whole = states.map((state) => ({ ...state, problem: wholeProblem(state.problem) }));
    const values = await exactValues.call(task, whole, probe);
    const wrong = Array.isArray(values) ? values.find((value) => !(value >= 0 && value <= 1)) : 0;
    if (!Array.isArray(values) || values.length !== states.length || wrong !== undefined)
      throw new UserError(
        `task "${task.name}": exactValues() must return one number in [0, 1] for each of ` +
          `${states.length} states, and returned ${describe(values, wrong)}`,
      );
    return values;
  };
}
