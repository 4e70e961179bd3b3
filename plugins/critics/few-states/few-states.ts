/** Values of all states of a batch from a critic's answers for a share of them. */
import type { State, Valuation } from '../../../src/plugin-api.ts';
import { Allowance, inRounds, LastOfResponse } from './rounds.ts';

/**
 * For each state passed over, how much a value of 0 or 1 may have changed, as a share of what a
 * value of .5 may. Such a response is asked about again at last.
 */
const LEAST_CHANGE = 0.08;

/**
 * One valuation for each state, in order. Asked are the first state of each group or response, and
 * `share` of each round of those behind them: those whose value may have changed most since the
 * last one that was asked, which is the more states ago, and was nearer to .5. The others inherit
 * its value.
 *
 * @param share in (0, 1]
 * @param draw a number in [0, 1) for each state, by which the smaller of two is asked where their
 *   values may have changed as much
 * @param ask the critic's valuations of some states
 */
export async function valueFew(
  states: readonly State[],
  share: number,
  draw: (state: State) => number,
  ask: (some: readonly State[]) => Promise<readonly Valuation[]>,
): Promise<Valuation[]> {
  if (share === 1) return [...(await ask(states))];
  const values: Valuation[] = [];
  const last = new LastOfResponse(states);
  const allowance = new Allowance(share, (s) => draw(states[s]!));
  for (const round of inRounds(states)) {
    const begin = round.filter((s) => last.before(s) === null);
    const behind = round.filter((s) => last.before(s) !== null);
    const urgency = (s: number) => {
      const before = last.before(s)!;
      const passed = states[s]!.index - states[before]!.index;
      return passed * mayChange(values[before]!.value);
    };
    const chosen = [...begin, ...allowance.take(behind, urgency)].sort((a, b) => a - b);
    const answers = chosen.length > 0 ? await ask(chosen.map((s) => states[s]!)) : [];
    for (const [i, s] of chosen.entries()) values[s] = answers[i]!;
    for (const s of behind) values[s] ??= inherited(values[last.before(s)!]!);
    for (const s of chosen) last.note(s);
  }
  return values;
}

/** The variance of what a value in [0, 1] may end as, and a little. */
const mayChange = (value: number): number => value * (1 - value) + LEAST_CHANGE / 4;

/** Of a state that was not asked about. @param given that of the last one before it that was */
export const inherited = ({ value, parsed }: Valuation): Valuation => ({
  ...{ value, parsed, rationale: '', completions: [], inherited: true },
});
