/** Asks the critic for what has gathered since its last answer, one request at a time. */
import type { State, Valuation } from '../types.ts';
import type { Valuations } from './batch.ts';

export class Valuer {
  readonly #value: (states: readonly State[]) => Promise<readonly Valuation[]>;
  readonly #valuations = new Map<string, Valuation>();
  #waiting: State[] = [];
  #running: Promise<void> | null = null;
  #failure: Promise<void> = Promise.resolve();
  #error: { error: unknown } | null = null;

  constructor(value: (states: readonly State[]) => Promise<readonly Valuation[]>) {
    this.#value = value;
  }

  request(states: readonly State[]): void {
    if (states.length === 0) return;
    this.#waiting.push(...states);
    if (this.#running) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
    });
    this.#failure = this.#running.catch((error: unknown) => {
      this.#error ??= { error };
    });
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const states = this.#waiting;
      this.#waiting = [];
      const values = await this.#value(states);
      states.forEach((state, i) => {
        this.#valuations.set(state.id, values[i]!);
      });
    }
  }

  /** All estimates that were requested, once they are there. @throws what went wrong */
  async finish(): Promise<Valuations> {
    while (this.#running) await this.#failure;
    if (this.#error) throw this.#error.error;
    return this.#valuations;
  }
}
