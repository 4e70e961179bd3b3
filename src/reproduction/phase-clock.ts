import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

const kept = z.strictObject({
  iterations: z.int(),
  seconds: z.record(z.string(), z.number()),
});

/**
 * Seconds of the phases of joint training, from the events of a run. They are kept in a file: a run
 * may have several processes, one after the other.
 */
export class PhaseClock {
  readonly #path: string;
  readonly #seconds: Map<string, number>;
  #iterations: number;
  #phase: string | null = null;
  #since = 0;

  constructor(path: string) {
    this.#path = path;
    const { iterations, seconds } = existsSync(path)
      ? kept.parse(JSON.parse(readFileSync(path, 'utf8')))
      : { iterations: 0, seconds: {} };
    this.#iterations = iterations;
    this.#seconds = new Map(Object.entries(seconds));
  }

  /** For a run that begins. */
  clear(): void {
    this.#iterations = 0;
    this.#seconds.clear();
    rmSync(this.#path, { force: true });
  }

  /** @param now milliseconds */
  note(
    event: { readonly type: string; readonly phase?: string; readonly stage?: string },
    now: number = performance.now(),
  ): void {
    if (event.stage !== 'joint') return;
    if (event.type === 'iteration') this.#iterations++;
    if (event.type !== 'phase' && event.type !== 'iteration') return;
    if (this.#phase !== null) {
      const before = this.#seconds.get(this.#phase) ?? 0;
      this.#seconds.set(this.#phase, before + (now - this.#since) / 1000);
    }
    this.#phase = event.type === 'phase' ? event.phase! : null;
    this.#since = now;
    if (event.type === 'iteration') this.#keep();
  }

  #keep(): void {
    const seconds = Object.fromEntries(this.#seconds);
    writeFileSync(
      `${this.#path}.unfinished`,
      JSON.stringify({ iterations: this.#iterations, seconds }),
    );
    renameSync(`${this.#path}.unfinished`, this.#path);
  }

  perIteration(): Record<string, number> {
    const entries = [...this.#seconds].filter(([phase]) => phase !== 'evaluate');
    return Object.fromEntries(
      this.#iterations === 0 ? [] : entries.map(([p, seconds]) => [p, seconds / this.#iterations]),
    );
  }
}
