/**
 * Floors of every table: what knows nothing of the response. Each is fitted on the other problems.
 */
import type { JudgedState, Judgement } from './measures.ts';

export const floors = {
  /** The mean reference value of all states. */
  constant: () => 0,
  /** The mean reference value of the states of this number. */
  position: ({ index }: JudgedState) => index,
} as const;

/** @param keyOf states of one key get one value */
export function floorOf(
  judgements: readonly Judgement[],
  keyOf: (state: JudgedState) => number,
): Judgement[] {
  const total = new Map<number, { sum: number; count: number }>();
  const add = (state: JudgedState, sign: 1 | -1) => {
    const own = total.get(keyOf(state)) ?? { sum: 0, count: 0 };
    own.sum += sign * state.reference.mean;
    own.count += sign;
    total.set(keyOf(state), own);
  };
  for (const { states } of judgements) for (const state of states) add(state, 1);
  return judgements.map(({ states, candidates }) => {
    for (const state of states) add(state, -1);
    const everything = [...total.values()];
    const count = everything.reduce((n, one) => n + one.count, 0);
    const overall = count === 0 ? 0.5 : everything.reduce((n, one) => n + one.sum, 0) / count;
    const valued = states.map((state) => {
      const others = total.get(keyOf(state))!;
      const value = others.count === 0 ? overall : others.sum / others.count;
      return { ...state, value: Math.min(1, Math.max(0, value)), parsed: true };
    });
    for (const state of states) add(state, 1);
    return { states: valued, candidates: candidates.map((one) => ({ ...one, value: overall })) };
  });
}
