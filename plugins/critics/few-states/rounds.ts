/**
 * States in rounds, and a share of each round. What is chosen depends on nothing that came after a
 * state, so that a value is a baseline of what follows it, and its outcome a fair sample.
 */
import { type CriticContext, deriveSeed, Random, type State } from '../../../src/plugin-api.ts';

/**
 * Numbers of the states, in rounds: a state comes after those before it in its response, and after
 * the one that its group shares.
 */
export function inRounds(states: readonly State[]): number[][] {
  const groups = new Set(states.flatMap((s) => (s.trajectory === null ? [s.group] : [])));
  const ranks = new Map<number, number>();
  const rounds: number[][] = [];
  const inOrder = [...states.keys()].sort((a, b) => states[a]!.index - states[b]!.index);
  for (const s of inOrder) {
    const { trajectory, group } = states[s]!;
    const rank = trajectory === null ? 0 : (ranks.get(trajectory) ?? (groups.has(group) ? 1 : 0));
    if (trajectory !== null) ranks.set(trajectory, rank + 1);
    rounds[rank] ??= [];
    rounds[rank].push(s);
  }
  return rounds.filter((round) => round).map((round) => round.sort((a, b) => a - b));
}

/** Numbers of states, each with the one before it in its response or group, of those noted. */
export class LastOfResponse {
  readonly #states: readonly State[];
  readonly #ofResponse = new Map<number, number>();
  readonly #ofGroup = new Map<number, number>();

  constructor(states: readonly State[]) {
    this.#states = states;
  }

  /** @param s number of a state, which is the last one of its response by now */
  note(s: number): void {
    const { trajectory, group } = this.#states[s]!;
    if (trajectory === null) this.#ofGroup.set(group, s);
    else this.#ofResponse.set(trajectory, s);
  }

  before(s: number): number | null {
    const { trajectory, group } = this.#states[s]!;
    if (trajectory === null) return null;
    return this.#ofResponse.get(trajectory) ?? this.#ofGroup.get(group) ?? null;
  }
}

/** So many of each round, the most urgent first; fractions of a state add up over the rounds. */
export class Allowance {
  readonly #share: number;
  readonly #tie: (s: number) => number;
  #left = 0;

  /**
   * @param share of each round, in (0, 1]
   * @param tie decides between states that are as urgent, the smaller first
   */
  constructor(share: number, tie: (s: number) => number) {
    this.#share = share;
    this.#tie = tie;
  }

  /** Numbers of the chosen states, in order. */
  take(round: readonly number[], urgency: (s: number) => number): number[] {
    this.#left += this.#share * round.length;
    const count = Math.floor(this.#left + 1e-9);
    this.#left -= count;
    return round
      .map((s) => ({ s, urgency: urgency(s), tie: this.#tie(s) }))
      .sort((a, b) => b.urgency - a.urgency || a.tie - b.tie)
      .slice(0, count)
      .map(({ s }) => s)
      .sort((a, b) => a - b);
  }
}

/** Draws a number in [0, 1) for a state, whatever its response became. */
export const blindDraw =
  (seed: number, { purpose, iteration }: Pick<CriticContext, 'purpose' | 'iteration'>) =>
  ({ id }: State): number =>
    new Random(deriveSeed(seed, `critic/${purpose}/${id}/asked`, iteration)).uniform();
