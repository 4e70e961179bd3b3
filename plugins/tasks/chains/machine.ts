/**
 * What the embedded tasks have in common: labelled chains of operations on a machine with finitely
 * many states, such as a register modulo 7. A response names the state after every step.
 */
import type { Random } from '../../../src/plugin-api.ts';

/**
 * A machine, and the ways in which an actor errs at it. States, operations and outcomes are indices
 * from 0 on.
 */
export interface Machine {
  /** Draws of one machine are not those of another. */
  readonly name: string;
  /** The word of each state; one token. */
  readonly states: readonly string[];
  /** Chains begin with one of the first so many states; absent: with any. */
  readonly starts?: number;
  /** The word of each operation; one token. */
  readonly operations: readonly string[];
  /** What an actor may do in the place of an operation, the right thing among it. */
  readonly outcomes: number;
  /** states x outcomes: the state that an outcome leads to. */
  readonly next: Int16Array;
  right(operation: number, state: number): number;
  /** Cells (operation, state) of one group are misconceived together. */
  readonly groups: number;
  groupOf(operation: number, state: number): number;
  /**
   * An earlier claim in the place of the true state that goes with a later, wrong `state`, where a
   * claim shows what was right before it; absent: the true state tells nothing of what comes after.
   */
  before?(truth: number, state: number): number;
  /** Most errors come right again, so that success says little of how often an actor errs. */
  readonly mends?: true;
  /** Further words of its prompts. */
  readonly words?: readonly string[];
  /** What a tokenizer reads as something else before it cuts a text into words. */
  readonly spellings?: readonly (readonly [found: string, instead: string])[];
}

export interface Chain {
  readonly start: number;
  /** steps[k] = the words of the operations of labelled step k. */
  readonly steps: readonly (readonly string[])[];
}

export const LABELS = 'abcdefghijkl';

/** How long the chains of a task are. */
export interface ChainLength {
  /** Labelled steps K. */
  readonly steps: number;
  /** Operations b of each; absent: one. */
  readonly operationsPerStep?: number;
}

/** Chains of a machine, by the state after each step: drawn, followed, written and read. */
export function chainsOf(machine: Machine) {
  const operationIndex = new Map(machine.operations.map((word, i) => [word, i]));
  const stateIndex = new Map(machine.states.map((word, i) => [word, i]));

  function apply(state: number, operation: string): number {
    const outcome = machine.right(operationIndex.get(operation)!, state);
    return machine.next[state * machine.outcomes + outcome]!;
  }

  /** @param operations that are drawn, each as often; absent: all */
  function drawChain(
    random: Random,
    { steps, operationsPerStep = 1 }: ChainLength,
    operations: readonly string[] = machine.operations,
  ): Chain {
    return {
      start: random.integer(machine.starts ?? machine.states.length),
      steps: Array.from({ length: steps }, () =>
        Array.from(
          { length: operationsPerStep },
          () => operations[random.integer(operations.length)]!,
        ),
      ),
    };
  }

  /** The true state after each step. */
  function truth(chain: Chain): number[] {
    let state = chain.start;
    return chain.steps.map((operations) => {
      state = operations.reduce(apply, state);
      return state;
    });
  }

  /** `4 | a -2 | b -3 | >`, or `4 | a -2 +6 | b -3 *5 | >` of two operations a step. */
  function chainPrompt(chain: Chain): string {
    const steps = chain.steps.map((operations, k) => `${LABELS[k]} ${operations.join(' ')} |`);
    return `${machine.states[chain.start]} | ${steps.join(' ')} >`;
  }

  /** Reads what `chainPrompt` wrote; null: it is something else. */
  function parseChain(prompt: string): Chain | null {
    const [start, ...parts] = prompt.replace(/ >$/, '').split(' |');
    const steps = parts
      .map((part) => part.trim().split(' ').slice(1))
      .filter((operations) => operations.length > 0);
    const chain = { start: stateIndex.get(start!) ?? -1, steps };
    const known = steps.flat().every((operation) => operationIndex.has(operation));
    return known && chain.start >= 0 && chainPrompt(chain) === prompt ? chain : null;
  }

  /** `a 2 b 6`: the claims of the steps so far, without the end. */
  const claimsText = (claims: readonly number[]): string =>
    claims.map((claim, k) => `${LABELS[k]} ${machine.states[claim]}`).join(' ');

  /**
   * The claimed states of a response or of its beginning: as many as come in order with their
   * labels.
   */
  function parseClaims(text: string): number[] {
    const words = text.split(' ').filter((word) => word !== '');
    const claims: number[] = [];
    for (let k = 0; 2 * k + 1 < words.length; k++) {
      const claim = stateIndex.get(words[2 * k + 1]!);
      if (words[2 * k] !== LABELS[k] || claim === undefined) break;
      claims.push(claim);
    }
    return claims;
  }

  /** 1 if the response names every step in order, ends, and its last state is right; else 0. */
  function chainReward(text: string, chain: Chain): number {
    const claims = parseClaims(text);
    const complete = claims.length === chain.steps.length && text === `${claimsText(claims)} .`;
    return complete && claims.at(-1) === truth(chain).at(-1) ? 1 : 0;
  }

  /** `3 right`, `3 wrong`: the steps so far, and whether the last one names the true state. */
  function classOf(chain: Chain, text: string): string {
    const claims = parseClaims(text);
    if (text.trimEnd() !== claimsText(claims)) return 'malformed';
    const right = claims.length === 0 || claims.at(-1) === truth(chain)[claims.length - 1];
    return `${claims.length} ${right ? 'right' : 'wrong'}`;
  }

  /**
   * The start, written as if it were a step (value, claim, verdict), so that every true result is
   * computed from the one before it in the same way; then per step so far label, each operation
   * with its true result, the actor's claim, verdict; then the steps left:
   * `4 4 Y a -2 2 2 Y b -3 6 4 N left 6`, or `4 4 Y a -2 2 +6 1 1 Y left 7` of two operations.
   */
  function rationaleOf(chain: Chain, claims: readonly number[]): string {
    const { states } = machine;
    let state = chain.start;
    const steps = claims.map((claim, k) => {
      const worked = chain.steps[k]!.map((operation) => {
        state = apply(state, operation);
        return `${operation} ${states[state]}`;
      });
      return `${LABELS[k]} ${worked.join(' ')} ${states[claim]} ${claim === state ? 'Y' : 'N'}`;
    });
    return [
      `${states[chain.start]} ${states[chain.start]} Y`,
      ...steps,
      `left ${chain.steps.length - claims.length}`,
    ].join(' ');
  }

  return {
    ...{ operationIndex, stateIndex, apply, drawChain, truth, chainPrompt, parseChain },
    ...{ claimsText, parseClaims, chainReward, classOf, rationaleOf },
  };
}
