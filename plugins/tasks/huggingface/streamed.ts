/**
 * Data sets that are streamed: problem number n is the n-th row of the shuffled stream that gives a
 * problem on this side of the split.
 */

import { DataError, deriveSeed, type Problem, type Split } from '../../../src/plugin-api.ts';
import type { BadRowPolicy } from '../rows/bad-rows.ts';
import { digestOf, keyOf, type Share } from '../rows/held-out.ts';
import { placeOf } from '../rows/order.ts';
import { BadRow, problemOfRow, type Row, type RowOptions } from '../rows/prompt.ts';
import type { Problems, Sources } from './indexed.ts';
import type { Source } from './source.ts';

export interface StreamOptions {
  readonly rows: RowOptions;
  readonly policy: BadRowPolicy;
  readonly share: Share | null;
  /** Rows that the shuffling draws from; null: the data's own order. */
  readonly buffer: number | null;
  readonly log: (text: string) => void;
}

/**
 * Problems at the beginning that are kept, so that an evaluation need not begin the stream again.
 */
const head = 1024;
/** Rows of one request. */
const chunk = 256;

export function streamedProblems({ train, heldout }: Sources, options: StreamOptions): Problems {
  const streams = new Map<string, ProblemStream>();
  return async (split, seed, from, count) => {
    const key = `${split} ${seed}`;
    const source = split === 'train' ? train : (heldout ?? train);
    const stream = streams.get(key) ?? new ProblemStream(source, split, seed, options);
    streams.set(key, stream);
    return stream.take(from, count);
  };
}

class ProblemStream {
  readonly #source: Source;
  readonly #split: Split;
  readonly #seed: number;
  readonly #options: StreamOptions;
  readonly #head: Problem[] = [];
  /** Problems number `#first`.. that were read and may be asked for next. */
  #window: Problem[] = [];
  #first = 0;
  #epoch = 0;
  /** Rows of the epoch that were read. */
  #position = 0;
  #inEpoch = 0;
  #dropped = 0;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(source: Source, split: Split, seed: number, options: StreamOptions) {
    [this.#source, this.#split, this.#seed, this.#options] = [source, split, seed, options];
  }

  /** One request after the other. */
  take(from: number, count: number): Promise<Problem[]> {
    const taken = this.#queue.then(() => this.#take(from, count));
    this.#queue = taken.catch(() => {});
    return taken;
  }

  async #take(from: number, count: number): Promise<Problem[]> {
    const end = from + count;
    if (end <= this.#head.length) return this.#head.slice(from, end);
    if (from < this.#first)
      [this.#window, this.#first, this.#epoch, this.#position, this.#inEpoch] = [[], 0, 0, 0, 0];
    while (this.#first + this.#window.length < end) {
      await this.#read();
      const past = Math.min(from - this.#first, this.#window.length);
      this.#window.splice(0, past);
      this.#first += past;
    }
    return this.#window.slice(from - this.#first, end - this.#first);
  }

  async #read(): Promise<void> {
    const { buffer } = this.#options;
    const [seed] = deriveSeed(this.#seed, `order/${this.#split}`, this.#epoch);
    const rows = await this.#source.stream(
      `${this.#split} ${this.#seed}`,
      { seed, buffer },
      this.#position,
      chunk,
    );
    for (const [i, row] of rows.entries()) {
      const problem = this.#problemOf(row, this.#position + i);
      if (problem === null) continue;
      if (this.#first + this.#window.length === this.#head.length && this.#head.length < head)
        this.#head.push(problem);
      this.#window.push(problem);
      this.#inEpoch++;
    }
    this.#position += rows.length;
    if (rows.length === chunk) return;
    if (this.#inEpoch === 0) {
      const dropped = this.#dropped > 0 ? `; ${this.#dropped} rows were dropped` : '';
      throw new DataError([
        `task: ${this.#source.name} gives no problems for "${this.#split}"${dropped}`,
      ]);
    }
    [this.#epoch, this.#position, this.#inEpoch] = [this.#epoch + 1, 0, 0];
  }

  /** null: it is dropped, or on the other side of the split. */
  #problemOf(row: Row | BadRow, position: number): Problem | null {
    const { rows, policy, share } = this.#options;
    try {
      const problem = problemOfRow(row, rows);
      if (
        share &&
        placeOf(keyOf(problem), share.seed) < share.share !== (this.#split === 'heldout')
      )
        return null;
      return { id: `${this.#split}-${digestOf(problem)}`, ...problem };
    } catch (error) {
      if (!(error instanceof BadRow)) throw error;
      this.#bad(`row ${position} of epoch ${this.#epoch}: ${error.message}`, policy);
      return null;
    }
  }

  #bad(cause: string, policy: BadRowPolicy): void {
    const { name } = this.#source;
    if (policy === 'error')
      throw new DataError([
        `task: ${name}: ${cause}; mend it, or set task.bad_rows: drop to go on without such rows`,
      ]);
    this.#dropped++;
    // The first, and whenever their number has doubled.
    if (Number.isInteger(Math.log2(this.#dropped)))
      this.#options.log(
        `task: dropped ${this.#dropped} rows of ${name} so far, the last: ${cause}`,
      );
  }
}
