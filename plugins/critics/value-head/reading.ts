/** One pass over a response reads the values of all its states. */
import type { Sequence, State } from '../../../src/plugin-api.ts';

export interface Reading {
  /** The longest of the states. */
  readonly sequence: Sequence;
  /** Number of each state among those given, and how many tokens of the response it has. */
  readonly places: readonly { readonly index: number; readonly length: number }[];
}

/** @param tokens of each state */
export function groupedByResponse(
  states: readonly State[],
  tokens: readonly Sequence[],
): Reading[] {
  const groups = new Map<string, number[]>();
  for (const [i, { id, trajectory, tokens: sampled }] of states.entries()) {
    // States of one response begin alike. What is known of a text alone is read by itself.
    const key = trajectory !== null && sampled ? `response ${trajectory}` : `state ${id} ${i}`;
    const own = groups.get(key) ?? groups.set(key, []).get(key)!;
    own.push(i);
  }
  return [...groups.values()].map((own) => {
    const lengths = own.map((i) => tokens[i]!.completionIds.length);
    const longest = own[lengths.indexOf(Math.max(...lengths))]!;
    const places = own.map((index, k) => ({ index, length: lengths[k]! }));
    return { sequence: tokens[longest]!, places };
  });
}
