/** Continues responses from states, by their exact token ids. */
import type { Config } from '../config/schema.ts';
import type { Continuation, Continuations } from '../critic.ts';
import { mapYielding } from '../event-loop.ts';
import type { LanguageModel, Sampled } from '../language-model.ts';
import { deriveSeed, type Seed } from '../math/random.ts';
import type { RewardOf } from '../rewards/reward.ts';
import { wholeProblem } from '../text/blind-problem.ts';
import type { Sequence, State } from '../types.ts';
import { UserError } from '../user-error.ts';
import type { ExactValues } from './exact-values.ts';

export interface ContinuationParts {
  readonly model: LanguageModel;
  /** As it is in this iteration. */
  readonly sampling: Config['sampling'];
  readonly rewardOf: RewardOf;
}

/**
 * `count` of each state, sampled as training samples. What the actor wrote of a state counts
 * against `sampling.max_new_tokens`, as it did when it was written.
 *
 * @param seed of continuation number `i % count` of state `floor(i / count)`
 * @throws UserError for a state without token ids
 */
export async function continueStates(
  { model, sampling, rewardOf }: ContinuationParts,
  states: readonly State[],
  count: number,
  seed: (i: number) => Seed,
): Promise<Rewarded[][]> {
  const { max_new_tokens, temperature, top_p, top_k, stop_strings } = sampling;
  const tokens = tokensOf(states);
  const open = [...states.keys()].filter((s) => tokens[s]!.completionIds.length < max_new_tokens);
  const sampled = await model.sample({
    prompts: open.map((s) => tokens[s]!),
    completionsPerPrompt: count,
    ...{ max_new_tokens, temperature, top_p, top_k, stop_strings },
    seed: (i) => seed(open[Math.floor(i / count)]! * count + (i % count)),
  });
  // A reward is of the whole response, in words and in tokens.
  const reward = async (s: number, { text, finishReason, completionIds }: Finish) => {
    const problem = wholeProblem(states[s]!.problem);
    const whole = joined(tokens[s]!.completionIds, completionIds);
    const judged = await rewardOf({ text, finishReason, problem, completionIds: whole });
    return { text, completionIds, reward: judged.reward };
  };
  const rewarded = await mapYielding(sampled, (one, i) =>
    reward(open[Math.floor(i / count)]!, one),
  );
  const continuations = await Promise.all(rewarded);
  const place = new Map(open.map((s, k) => [s, k]));
  return Promise.all(
    states.map(async ({ response }, s) => {
      const k = place.get(s);
      if (k !== undefined) return continuations.slice(k * count, (k + 1) * count);
      // It has all tokens that a response may have.
      const whole = { text: response, finishReason: 'length', completionIds: none } as const;
      return Array.from({ length: count }).fill(await reward(s, whole)) as Rewarded[];
    }),
  );
}

type Finish = Pick<Sampled, 'text' | 'finishReason' | 'completionIds'>;
type Rewarded = Continuation & { readonly reward: number };
const none = new Int32Array();

function joined(before: Int32Array, after: Int32Array): Int32Array {
  const whole = new Int32Array(before.length + after.length);
  whole.set(before);
  whole.set(after, before.length);
  return whole;
}

/** For critics: the draws depend on the run's seed, the purpose and the state alone. */
export function continuationsOf(
  parts: () => ContinuationParts,
  runSeed: number,
  exactValues: ExactValues | null,
): Continuations {
  return {
    exactValues,
    sample: (states, count, { purpose, iteration }) =>
      continueStates(parts(), states, count, (i) => {
        const { id } = states[Math.floor(i / count)]!;
        return deriveSeed(runSeed, `continuations/${purpose}/${id}`, iteration, i % count);
      }),
  };
}

/** @throws UserError for a state of which only the text is known */
export function tokensOf(states: readonly State[]): Sequence[] {
  return states.map(({ id, tokens }) => {
    if (tokens) return tokens;
    throw new UserError(
      `state ${id} can't be continued: only its text is known, and not the token ids that ` +
        'the actor sampled',
    );
  });
}
