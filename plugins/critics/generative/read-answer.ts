/** A generative critic's valuation: what it wrote about a state, read. */

import {
  type CriticCompletion,
  type CriticFormat,
  mean,
  readScore,
  type Sampled,
  type Valuation,
} from '../../../src/plugin-api.ts';

/** A completion as it was sampled, with the score that was read in it. */
export function completionOf(sampled: Sampled, score: number | null): CriticCompletion {
  const { promptIds, completionIds, text, logprobs } = sampled;
  const known = logprobs.length === completionIds.length;
  return { promptIds, completionIds, text, score, ...(known && { logprobs }) };
}

/**
 * Keeps the completions as they were sampled, and reads words and ids out of them when they are
 * asked for: a batch has up to a million states, and the garbage collector visits each object.
 */
export class ReadAnswer implements Valuation {
  readonly value: number;
  readonly parsed: 'ok' | 'malformed';
  readonly #sampled: readonly Sampled[];
  readonly #from: number;
  readonly #count: number;
  readonly #format: CriticFormat;

  /**
   * @param sampled completions of many states; this state's are `count` of them, from number `from`
   * @param standIn the fallback value, if no completion has a valid score
   */
  constructor(
    sampled: readonly Sampled[],
    from: number,
    count: number,
    format: CriticFormat,
    standIn: number,
  ) {
    this.#sampled = sampled;
    this.#from = from;
    this.#count = count;
    this.#format = format;
    const values = this.#read().flatMap((read) => (read === null ? [] : [read.value]));
    this.value = values.length > 0 ? mean(values) : standIn;
    this.parsed = values.length > 0 ? 'ok' : 'malformed';
  }

  get rationale(): string {
    const first = this.#read().find((read) => read !== null);
    return first?.rationale ?? this.#own()[0]!.text;
  }

  get completions(): CriticCompletion[] {
    const read = this.#read();
    return this.#own().map((sampled, i) => completionOf(sampled, read[i]?.score ?? null));
  }

  #own(): readonly Sampled[] {
    return this.#sampled.slice(this.#from, this.#from + this.#count);
  }

  #read() {
    return this.#own().map(({ text }) => readScore(text, this.#format));
  }
}
