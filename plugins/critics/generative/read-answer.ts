/** A generative critic's valuation: what it wrote about a state, read. */

import {
  type CriticCompletion,
  type CriticFormat,
  mean,
  readScore,
  type Valuation,
} from '../../../src/plugin-api.ts';
import { maskOf, type Written } from './carrying.ts';

/** A completion as it was sampled, with the score that was read in it. */
export function completionOf(written: Written, score: number | null): CriticCompletion {
  const { promptIds, completionIds, text, logprobs, carried } = written;
  const known = logprobs.length === completionIds.length;
  return {
    ...{ promptIds, completionIds, text, score },
    ...(known && { logprobs }),
    ...(carried && { mask: maskOf(completionIds.length, carried) }),
  };
}

/**
 * Keeps the completions as they were sampled, and reads words and ids out of them when they are
 * asked for: a batch has up to a million states, and the garbage collector visits each object.
 */
export class ReadAnswer implements Valuation {
  readonly value: number;
  readonly parsed: 'ok' | 'malformed';
  readonly #sampled: readonly Written[];
  readonly #from: number;
  readonly #count: number;
  readonly #format: CriticFormat;
  readonly #values: Float64Array | null;

  /**
   * @param sampled completions of many states; this state's are `count` of them, from number `from`
   * @param standIn the fallback value, if no completion has a valid score
   * @param values of all of `sampled`; null: the score of each
   */
  constructor(
    sampled: readonly Written[],
    from: number,
    count: number,
    format: CriticFormat,
    standIn: number,
    values: Float64Array | null,
  ) {
    this.#sampled = sampled;
    this.#from = from;
    this.#count = count;
    this.#format = format;
    this.#values = values;
    const valid = this.#read().flatMap((read, i) =>
      read === null ? [] : [this.#valueOf(read, i)],
    );
    this.value = valid.length > 0 ? mean(valid) : standIn;
    this.parsed = valid.length > 0 ? 'ok' : 'malformed';
  }

  /** Of completion number i; null: it has no valid score. */
  valueOf(i: number): number | null {
    const read = this.#read()[i]!;
    return read && this.#valueOf(read, i);
  }

  get rationale(): string {
    const first = this.#read().find((read) => read !== null);
    return first?.rationale ?? this.#own()[0]!.text;
  }

  get completions(): CriticCompletion[] {
    const read = this.#read();
    return this.#own().map((sampled, i) => completionOf(sampled, read[i]?.score ?? null));
  }

  #valueOf({ value }: { readonly value: number }, i: number): number {
    return this.#values ? this.#values[this.#from + i]! : value;
  }

  #own(): readonly Written[] {
    return this.#sampled.slice(this.#from, this.#from + this.#count);
  }

  #read() {
    return this.#own().map(({ text }) => readScore(text, this.#format));
  }
}
