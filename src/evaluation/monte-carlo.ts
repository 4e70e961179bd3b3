/**
 * Monte Carlo values: the mean reward of responses that the actor goes on with from a state, by its
 * exact token ids.
 */

import { actorOf, type Training } from '../iteration/context.ts';
import { deriveSeed } from '../math/random.ts';
import { mean } from '../math/statistics.ts';
import type { ReferenceState } from '../task.ts';

/**
 * The states with the mean reward of `evaluation.continuations` continuations as their value; as
 * they are where none are asked for. What the actor wrote of a state counts against
 * `sampling.max_new_tokens`, as it did when it was written.
 */
export async function withContinuations(
  training: Training,
  references: readonly ReferenceState[],
  purpose: string,
  iteration: number,
): Promise<readonly ReferenceState[]> {
  const { config, judge } = training;
  const { continuations } = config.evaluation;
  const live = references.flatMap(({ state }) => state.tokens ?? []);
  if (continuations === 0 || live.length < references.length) return references;
  const { max_new_tokens, temperature, top_p, top_k, stop_strings } = config.sampling;
  const sampled = await actorOf(training).model.sample({
    prompts: live,
    completionsPerPrompt: continuations,
    max_new_tokens,
    temperature,
    top_p,
    top_k,
    stop_strings,
    seed: (i) => deriveSeed(config.seed, `continuations/${purpose}`, iteration, i),
  });
  const rewards = await Promise.all(
    sampled.map(async ({ text, finishReason }, i) => {
      const { problem } = references[Math.floor(i / continuations)]!.state;
      return (await judge({ text, finishReason, problem })).reward;
    }),
  );
  return references.map((reference, i) => ({
    ...reference,
    value: mean(rewards.slice(i * continuations, (i + 1) * continuations)),
  }));
}
