/**
 * Monte Carlo values: the mean reward of the actor's continuations from a state, by its
 * exact token ids.
 */

import { actorOf, type Training } from '../iteration/context.ts';
import { continueStates } from '../iteration/continuations.ts';
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
  const { config, rewardOf } = training;
  const { continuations } = config.evaluation;
  const live = references.every(({ state }) => state.tokens !== null);
  if (continuations === 0 || !live) return references;
  const { model } = actorOf(training);
  const continued = await continueStates(
    { model, rewardOf, sampling: config.sampling },
    references.map(({ state }) => state),
    continuations,
    (i) => deriveSeed(config.seed, `continuations/${purpose}`, iteration, i),
  );
  return references.map((reference, i) => ({
    ...reference,
    value: mean(continued[i]!.map(({ reward }) => reward)),
  }));
}
