/**
 * Rows that give no problem: an error that names the first ones, or dropped, counted and said in
 * the log.
 */

import { DataError } from '../../../src/plugin-api.ts';

export type BadRowPolicy = 'error' | 'drop';

const shown = 5;

/** Gathers what is wrong with the rows of one source. */
export class BadRows {
  readonly #source: string;
  readonly #option: string;
  readonly #policy: BadRowPolicy;
  readonly #examples: string[] = [];
  #count = 0;

  /**
   * @param source what is read, as messages name it
   * @param option name of the option that sets the policy, e.g. `bad_lines`
   */
  constructor(source: string, option: string, policy: BadRowPolicy) {
    [this.#source, this.#option, this.#policy] = [source, option, policy];
  }

  get count(): number {
    return this.#count;
  }

  /** @param place e.g. `line 7` */
  add(place: string, cause: string): void {
    this.#count++;
    if (this.#examples.length < shown) this.#examples.push(`${place}: ${cause}`);
  }

  /** Throws where they are errors, or where nothing is left; else logs how many were dropped. */
  settle(good: number, log: (text: string) => void): void {
    const more = this.#count > shown ? [`... and ${this.#count - shown} more`] : [];
    if (this.#count > 0 && this.#policy === 'error') {
      const advice = `mend them, or set task.${this.#option}: drop to go on without them`;
      const causes = this.#examples.map((example) => `  ${example}`);
      throw new DataError([
        `task: ${this.#source} has ${this.#count} ` +
          `${this.#count === 1 ? 'row that gives' : 'rows that give'} no problem; ${advice}`,
        ...causes,
        ...more.map((text) => `  ${text}`),
      ]);
    }
    if (good === 0)
      throw new DataError([
        `task: ${this.#source} gives no problems${this.#count > 0 ? `: all ${this.#count} rows were dropped` : ', it is empty'}`,
        ...[...this.#examples, ...more].map((text) => `  ${text}`),
      ]);
    if (this.#count === 0) return;
    log(
      `task: dropped ${this.#count} of ${this.#count + good} rows of ${this.#source}: ` +
        `${[...this.#examples, ...more].join('; ')}`,
    );
  }
}
