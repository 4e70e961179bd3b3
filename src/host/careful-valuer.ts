/**
 * Asks a critic that writes no scores as little as possible. A model that was never taught to judge
 * writes up to its limit for each of hundreds of states, and nothing of it can be read. So a few
 * states are asked first; where no score comes, the others are not asked, and the next batches not
 * at all, until a few are asked again.
 */
import { valuesOf } from '../checked-critic.ts';
import type { Critic, CriticContext } from '../critic.ts';
import type { State, Valuation } from '../types.ts';

/** States that are asked first. */
const FEW = 4;
/** A critic without scores is asked again every this many batches. */
const PERIOD = 10;

export class CarefulValuer {
  readonly #critic: Critic;
  /** Did it write a score when it was last asked? null: not asked yet. A checkpoint holds it. */
  speaks: boolean | null = null;

  constructor(critic: Critic) {
    this.#critic = critic;
  }

  /**
   * One valuation for each state, in order; those that were not asked have `skipped: 'not-asked'`,
   * and the actor's success rate (0.5 until it is known) as value. Draws depend on the state, so
   * what a state is asked with does not change its value.
   *
   * @param all ask about all states whatever the critic wrote before: it is to learn from them
   */
  async value(
    states: readonly State[],
    context: CriticContext,
    all: boolean,
  ): Promise<Valuation[]> {
    // One that samples from the host's actor gets other draws for other requests.
    const { needs, wholeBatches, continues } = this.#critic;
    if (needs === 'outcomes' || wholeBatches || continues)
      return valuesOf(this.#critic, states, context);
    // An evaluation changes nothing for the batches that train.
    const remember = context.purpose !== 'evaluation';
    const rests = remember && this.speaks === false && context.iteration % PERIOD !== 0;
    if (rests && !all) return states.map(notAsked);
    const few = all || this.speaks ? states.length : FEW;
    const first = spread(states, few);
    const answers = await valuesOf(this.#critic, first, context);
    // A prompt that is too long says nothing of what the critic writes.
    const read = answers.filter(({ skipped }) => skipped === undefined);
    const speaks = read.length === 0 || read.some(({ parsed }) => parsed === 'ok');
    if (remember && read.length > 0) this.speaks = speaks;
    if (first.length === states.length) return answers;
    const known = new Map(first.map((state, i) => [state.id, answers[i]!]));
    const others = states.filter(({ id }) => !known.has(id));
    if (speaks) {
      const more = await valuesOf(this.#critic, others, context);
      others.forEach((state, i) => {
        known.set(state.id, more[i]!);
      });
    }
    return states.map((state) => known.get(state.id) ?? notAsked(state));
  }
}

/** So many of the items, evenly spread. */
function spread<T>(items: readonly T[], count: number): T[] {
  if (count >= items.length) return [...items];
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!);
}

function notAsked({ actor }: State): Valuation {
  const value = actor.successRate ?? 0.5;
  return { value, rationale: '', parsed: 'malformed', completions: [], skipped: 'not-asked' };
}
