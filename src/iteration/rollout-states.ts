/** States of finished responses, for critic pretraining and for measuring a critic. */
import type { SegmentedTrajectory } from '../credit.ts';
import { deriveSeed, Random } from '../math/random.ts';
import { textState } from '../state.ts';
import type { ReferenceState, Rollout } from '../task.ts';
import type { State, Trajectory } from '../types.ts';

/**
 * One state of each rollout, its prefix drawn at random; the reward is the reference. An unbiased
 * but noisy one, where a task knows no exact values. Each state stands by itself.
 *
 * @param from number of the first rollout, on which the draws depend
 */
export function statesOfRollouts(
  rollouts: readonly Rollout[],
  seed: number,
  purpose: string,
  from: number,
): ReferenceState[] {
  return rollouts.map((rollout, i) => {
    const index = drawIndex(rollout, seed, purpose, from + i);
    return { state: stateOf(rollout, index, `${purpose}-${from + i}`, i), value: rollout.reward };
  });
}

/**
 * All states of each rollout that the actor alone led to, in order. They say which rollout they are
 * of, so that a critic can treat those of one response together.
 */
export function allStatesOfRollouts(
  rollouts: readonly Rollout[],
  purpose: string,
  from: number,
): ReferenceState[] {
  return rollouts.flatMap((rollout, i) =>
    rollout.prefixes.slice(rollout.firstUnedited).map((_, k) => {
      const index = rollout.firstUnedited + k;
      const state = stateOf(rollout, index, `${purpose}-${from + i}.${index}`, i);
      return { state: { ...state, trajectory: i }, value: rollout.reward };
    }),
  );
}

/**
 * Each trajectory with one of its segments and states, drawn at random. Each state stands by
 * itself: a critic must not take it for all that there is of its response.
 */
export function oneStateOfEach<T extends Trajectory>(
  segmented: readonly SegmentedTrajectory<T>[],
  seed: number,
  purpose: string,
  from: number,
): SegmentedTrajectory<T>[] {
  return segmented.map(({ trajectory, segments, states }, i) => {
    const prefixes = { prefixes: states, firstUnedited: 0 };
    const k = drawIndex(prefixes, seed, purpose, from + i);
    const drawn = states.slice(k, k + 1).map((state) => ({ ...state, trajectory: null }));
    const one = { segments: segments.slice(k, k + 1), states: drawn };
    return { trajectory, ...one };
  });
}

function drawIndex(
  { prefixes, firstUnedited }: { prefixes: readonly unknown[]; firstUnedited: number },
  seed: number,
  purpose: string,
  number: number,
): number {
  const random = new Random(deriveSeed(seed, `state/${purpose}`, number));
  return firstUnedited + random.integer(Math.max(1, prefixes.length - firstUnedited));
}

function stateOf(rollout: Rollout, index: number, id: string, group: number): State {
  const { problem, actor, prefixes, tokens } = rollout;
  const response = prefixes[index] ?? '';
  const state = textState({ id, problem, response, index, group, actor });
  return { ...state, tokens: tokens?.[index] ?? null };
}
