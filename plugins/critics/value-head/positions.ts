/**
 * Sparse positions (SP3O, arXiv 2609.18708): a value model that is trained and read at some places
 * of a response alone, where it has the data to be right.
 */
import { groupBy, type State } from '../../../src/plugin-api.ts';

/**
 * For each state the number of the state whose value it has: its own where that is at one of the
 * places, else the last such one before it. First states, and states that are asked about by
 * themselves, are read.
 *
 * @param shares of a response's states, in (0, 1); null: all states are read
 */
export function readInstead(states: readonly State[], shares: readonly number[] | null): number[] {
  const own = states.map((_, i) => i);
  if (shares === null) return own;
  const responses = groupBy(
    own.filter((i) => states[i]!.trajectory !== null),
    (i) => states[i]!.trajectory!,
  );
  const firsts = new Map(
    own.filter((i) => states[i]!.trajectory === null).map((i) => [states[i]!.group, i]),
  );
  for (const members of responses.values()) {
    members.sort((a, b) => states[a]!.index - states[b]!.index);
    const count = states[members.at(-1)!]!.index + 1;
    const places = new Set([0, ...shares.map((share) => Math.round(share * (count - 1)))]);
    let last = firsts.get(states[members[0]!]!.group) ?? members[0]!;
    for (const i of members) {
      if (places.has(states[i]!.index)) last = i;
      own[i] = last;
    }
  }
  return own;
}
