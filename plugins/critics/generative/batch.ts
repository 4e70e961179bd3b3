/** What REINFORCE needs of a batch of outcomes. */

import {
  type CriticBaseline,
  type CriticCompletion,
  criticReward,
  forEachYielding,
  type Outcome,
  type Sliceable,
  stateWeights,
} from '../../../src/plugin-api.ts';

export interface Batch {
  /** Made as they are asked for, part by part: a batch may have a million. */
  readonly completions: Sliceable<CriticCompletion>;
  /** R - b of each completion. */
  readonly weights: readonly number[];
  /** Which tokens of each completion count; null: all of all. */
  readonly masks: readonly (Uint8Array | null)[] | null;
  /** Of all completions, those that count. */
  readonly tokens: number;
  /** Mean R of the completions, in [0, 1]. */
  readonly reward: number;
  /** Share of the completions with a valid score. */
  readonly parseRate: number;
}

/**
 * @param stops were completions number 3 and on drawn only where the first two disagreed?
 * @returns null where no outcome has a completion
 */
export async function batchOf(
  outcomes: readonly Outcome[],
  baseline: CriticBaseline,
  stops: boolean,
): Promise<Batch | null> {
  const rewards: number[] = [];
  // Completion i is number `nth[i]` of outcome `owners[i]`; those of a state begin at one of
  // `starts`.
  const owners: number[] = [];
  const nth: number[] = [];
  const starts: number[] = [];
  const masks: (Uint8Array | null)[] = [];
  let [earned, parsed, tokens] = [0, 0, 0];
  await forEachYielding(outcomes, ({ valuation, rewards: observed }, owner) => {
    const { completions } = valuation;
    if (completions.length > 0) starts.push(rewards.length);
    for (let i = 0; i < completions.length; i++) {
      const { score, completionIds, mask } = completions[i]!;
      const reward = criticReward(score === null ? null : score / 10, observed);
      rewards.push(reward);
      owners.push(owner);
      nth.push(i);
      earned += reward;
      tokens += mask ? mask.reduce((sum, one) => sum + one, 0) : completionIds.length;
      masks.push(mask ?? null);
      if (score !== null) parsed++;
    }
  });
  const count = rewards.length;
  if (count === 0) return null;
  const weights: number[] = [];
  await forEachYielding(starts, (start, i) => {
    const ofState = rewards.slice(start, starts[i + 1] ?? count);
    const own = stateWeights(ofState, baseline, earned / count, i);
    // Whether there are further ones depends on the first two, so that a mean over the further ones
    // depends on them too, and is no baseline of theirs. Each is the other's.
    if (stops && baseline === 'leave-one-out' && own.length > 2)
      own.splice(0, 2, ...stateWeights(ofState.slice(0, 2), baseline, 0, i));
    weights.push(...own);
  });
  const slice = (from: number, to: number) => {
    const part: CriticCompletion[] = [];
    let own: readonly CriticCompletion[] = [];
    for (let i = from; i < Math.min(to, count); i++) {
      if (i === from || nth[i] === 0) own = outcomes[owners[i]!]!.valuation.completions;
      part.push(own[nth[i]!]!);
    }
    return part;
  };
  const completions = { length: count, slice };
  return {
    ...{ completions, weights, tokens, reward: earned / count, parseRate: parsed / count },
    masks: masks.some((mask) => mask !== null) ? masks : null,
  };
}
