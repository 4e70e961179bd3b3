/** The states that decide a response's credit: those between which its value changes most. */
import type { State, Valuation } from '../../../src/plugin-api.ts';

/**
 * Numbers of at most `limit` states, in order: those on both sides of the largest changes of value
 * within a response. A state without a valid estimate comes first, and before all those `drawn`.
 */
export function mostUncertain(
  states: readonly State[],
  valuations: readonly Valuation[],
  limit: number,
  drawn: readonly number[] = [],
): number[] {
  const change: number[] = states.map((_, s) => (valuations[s]!.parsed === 'ok' ? 0 : 2));
  const firsts = new Map<number, number>();
  const last = new Map<number, number>();
  for (const [s, { trajectory, group }] of states.entries())
    if (trajectory === null) firsts.set(group, s);
  const inOrder = [...states.keys()].sort((a, b) => states[a]!.index - states[b]!.index);
  for (const s of inOrder) {
    const { trajectory, group } = states[s]!;
    if (trajectory === null) continue;
    const before = last.get(trajectory) ?? firsts.get(group);
    last.set(trajectory, s);
    if (before === undefined) continue;
    const jump = Math.abs(valuations[s]!.value - valuations[before]!.value);
    change[s] = Math.max(change[s]!, jump);
    change[before] = Math.max(change[before]!, jump);
  }
  for (const s of drawn) change[s] = 3;
  const ranked = [...states.keys()].sort((a, b) => change[b]! - change[a]! || a - b);
  return ranked.slice(0, limit).sort((a, b) => a - b);
}
