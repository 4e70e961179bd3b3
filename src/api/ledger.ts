/**
 * Cost of an oracle's answers: tokens, dollars, and limits that are never exceeded, of the dollars
 * and of the requests at once.
 */

import type { ApiModel } from '../config/api.ts';
import { UserError } from '../user-error.ts';
import type { CacheLine, Question, Usage } from './cache.ts';

/** Largest number of tokens that a chat template writes around a message. */
const AROUND_A_MESSAGE = 32;

/** The next answer might cost more than is left. */
export class CostLimit extends UserError {}

export class Ledger {
  readonly #price: ApiModel['price'];
  readonly #limit: number | null;
  readonly #maxTokens: number;
  readonly #concurrency: number;
  /** Bytes of `extra`, which may hold tools or a schema that the server counts as input. */
  readonly #extra: number;
  #answers = 0;
  #input = 0;
  #output = 0;
  #cost = 0;
  #unknown = 0;
  /** Largest possible cost in dollars of tries that may have been charged. */
  #doubtful = 0;
  /** Largest possible cost in dollars of running requests. */
  #reserved = 0;
  #running = 0;
  #waiting: (() => void)[] = [];

  constructor(api: ApiModel, paid: readonly CacheLine[]) {
    const { price, max_cost, max_tokens, concurrency, extra } = api;
    this.#price = price;
    this.#limit = max_cost;
    this.#maxTokens = max_tokens;
    this.#concurrency = concurrency;
    this.#extra = Object.keys(extra).length === 0 ? 0 : Buffer.byteLength(JSON.stringify(extra));
    for (const line of paid) this.note(line);
  }

  /**
   * Returns the largest possible cost of a question in dollars. It counts a token for each byte,
   * because no tokenizer makes more.
   */
  bound({ messages }: Question): number {
    if (!this.#price) return 0;
    const bytes = messages.reduce(
      (sum, { content }) => sum + Buffer.byteLength(content) + AROUND_A_MESSAGE,
      this.#extra,
    );
    return (bytes * this.#price.input + this.#maxTokens * this.#price.output) / 1e6;
  }

  /**
   * Reserves one of the `concurrency` places, and the dollars of a request. Waits for running
   * requests if there is no place, or if they might exceed the limit together. @throws CostLimit
   */
  async reserve(dollars: number): Promise<void> {
    for (;;) {
      const full = this.#running >= this.#concurrency;
      const above = this.#limit !== null && this.#spent + this.#reserved + dollars > this.#limit;
      if (!full && !above) break;
      if (!full && this.#reserved <= 0) {
        throw new CostLimit(
          `${this.#spent.toFixed(4)} dollars are spent, and the next answer may cost up to ${dollars.toFixed(4)}: max_cost ${this.#limit} might be exceeded (raise it and go on: for a run in its config.yaml, then resume; or ask for fewer: count)`,
        );
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#running++;
    this.#reserved += dollars;
  }

  release(dollars: number): void {
    this.#running--;
    this.#reserved = Math.max(0, this.#reserved - dollars);
    if (this.#reserved < 1e-12) this.#reserved = 0;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  note({ answer, usage, at_most }: Pick<CacheLine, 'answer' | 'usage' | 'at_most'>): void {
    if (answer) this.#answers++;
    if (usage) {
      this.#input += usage.input;
      this.#output += usage.output;
      this.#cost += this.costOf(usage);
    } else {
      if (answer) this.#unknown++;
      this.#doubtful += at_most ?? 0;
    }
  }

  get answers(): number {
    return this.#answers;
  }

  get metrics(): Record<string, number> {
    return {
      'oracle/answers': this.#answers,
      'oracle/input_tokens': this.#input,
      'oracle/output_tokens': this.#output,
      ...(this.#price && { 'oracle/cost': this.#cost }),
    };
  }

  /** For example `12.3k tokens in, 4.5k out, 0.0123 dollars`. */
  get words(): string {
    const thousands = (tokens: number) =>
      tokens < 1000 ? String(tokens) : `${(tokens / 1000).toFixed(1)}k`;
    const cost = this.#price ? `, ${this.#cost.toFixed(4)} dollars` : '';
    const unknown =
      this.#unknown > 0
        ? ` (the server gave no token counts for ${this.#unknown} of ${this.#answers} answers)`
        : '';
    return `${thousands(this.#input)} tokens in, ${thousands(this.#output)} out${cost}${unknown}`;
  }

  costOf({ input, output }: Usage): number {
    return this.#price ? (input * this.#price.input + output * this.#price.output) / 1e6 : 0;
  }

  get #spent(): number {
    return this.#cost + this.#doubtful;
  }
}
