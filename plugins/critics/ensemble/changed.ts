/** The states at which a response turned: those whose value is another than that before them. */
import type { State, Valuation } from '../../../src/plugin-api.ts';
import { Allowance, inRounds, LastOfResponse } from '../few-states/rounds.ts';

/** Above every change of a value. */
const UNKNOWN = 2;

/**
 * Numbers of `share` of each round of states, in order: those whose value changed most since the
 * state before. A state without a valid estimate comes first. What came after a state decides
 * nothing.
 *
 * @param share in (0, 1]
 * @param draw a number in [0, 1) for each state; the smaller comes first where nothing else decides
 */
export function mostChanged(
  states: readonly State[],
  valuations: readonly Valuation[],
  share: number,
  draw: (state: State) => number,
): number[] {
  const last = new LastOfResponse(states);
  const allowance = new Allowance(share, (s) => draw(states[s]!));
  const change = (s: number) => {
    if (valuations[s]!.parsed !== 'ok') return UNKNOWN;
    const before = last.before(s);
    return before === null ? 0 : Math.abs(valuations[s]!.value - valuations[before]!.value);
  };
  const chosen = inRounds(states).flatMap((round) => {
    const some = allowance.take(round, change);
    for (const s of round) last.note(s);
    return some;
  });
  return chosen.sort((a, b) => a - b);
}
