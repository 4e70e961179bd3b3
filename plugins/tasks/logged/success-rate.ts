/** What In-Context Conditioning may tell of an actor whose success rate the log does not say. */

import { mean, smoothSuccessRate } from '../../../src/plugin-api.ts';

export interface Rated {
  readonly actor: string;
  readonly step: number | null;
  /** What makes two problems the same. */
  readonly problem: string;
  /** In [0, 1]. */
  readonly reward: number;
}

/**
 * The success rate of each rollout's actor, never computed from the rollout's own reward, which the
 * critic is to predict:
 *
 * - with steps: the rate smoothed over the actor's steps before this one, p <- m p + (1 - m)
 *   mean(r), as in joint training;
 * - without steps, and at the first one: the mean reward of the actor's responses (of that step) to
 *   other problems.
 *
 * @param momentum m, in [0, 1)
 * @returns one for each, in [0, 1]; null: there is nothing to tell it by
 */
export function successRates(rollouts: readonly Rated[], momentum: number): (number | null)[] {
  const rates: (number | null)[] = rollouts.map(() => null);
  for (const indices of groups(rollouts, [...rollouts.keys()], ({ actor }) => actor).values()) {
    const steps = groups(rollouts, indices, ({ step }) => step ?? 0);
    let before: number | null = null;
    for (const step of [...steps.keys()].sort((a, b) => a - b)) {
      const here = steps.get(step)!;
      const first = before === null ? ofOtherProblems(rollouts, here) : null;
      for (const i of here) rates[i] = first ? first(rollouts[i]!) : before;
      before = smoothSuccessRate(
        before,
        here.map((i) => rollouts[i]!.reward),
        momentum,
      );
    }
  }
  return rates;
}

function ofOtherProblems(rollouts: readonly Rated[], indices: readonly number[]) {
  const total = indices.reduce((sum, i) => sum + rollouts[i]!.reward, 0);
  const byProblem = groups(rollouts, indices, ({ problem }) => problem);
  return ({ problem }: Rated): number | null => {
    const same = byProblem.get(problem)!;
    const others = indices.length - same.length;
    if (others === 0) return null;
    const rate = (total - same.length * mean(same.map((i) => rollouts[i]!.reward))) / others;
    return Math.min(1, Math.max(0, rate));
  };
}

function groups<K>(
  rollouts: readonly Rated[],
  indices: readonly number[],
  keyOf: (rollout: Rated) => K,
) {
  const result = new Map<K, number[]>();
  for (const i of indices) {
    const key = keyOf(rollouts[i]!);
    const group = result.get(key);
    if (group) group.push(i);
    else result.set(key, [i]);
  }
  return result;
}
