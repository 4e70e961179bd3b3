/** What happens in a run, as it happens. The terminal, the run folder and a TypeScript script all get the same events. */
import type { StageName } from '../config.ts';

export type Metrics = Readonly<Record<string, number>>;

export type RunEvent =
  | { readonly type: 'message'; readonly text: string }
  | { readonly type: 'stage'; readonly stage: StageName; readonly iterations: number; readonly from: number }
  /** A phase of an iteration begins, e.g. `sample`, `value`, `update`. */
  | { readonly type: 'phase'; readonly stage: StageName; readonly iteration: number; readonly phase: string }
  /** Metrics of a finished iteration (or step, or update); `iteration` counts from 0 within the stage. */
  | {
      readonly type: 'iteration';
      readonly stage: StageName;
      readonly iteration: number;
      readonly metrics: Metrics;
    }
  /** Held-out figures, before iteration number `iteration`. */
  | {
      readonly type: 'evaluation';
      readonly stage: StageName;
      readonly iteration: number;
      readonly metrics: Metrics;
    }
  | {
      readonly type: 'checkpoint';
      readonly stage: StageName;
      readonly iteration: number;
      readonly path: string;
    }
  | { readonly type: 'end'; readonly reason: 'done' | 'stopped' };

/** Events as an async iterable: any number of readers, none of which holds up the run. */
export class EventStream implements AsyncIterable<RunEvent> {
  readonly #past: RunEvent[] = [];
  #waiting: (() => void)[] = [];
  #closed = false;
  #error: unknown;

  push(event: RunEvent): void {
    this.#past.push(event);
    this.#wake();
  }

  /** Ends every reader, with an error if there is one. */
  close(error?: unknown): void {
    this.#closed = true;
    this.#error = error;
    this.#wake();
  }

  /** From the first event on. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent> {
    for (let next = 0; ; ) {
      while (next < this.#past.length) yield this.#past[next++]!;
      if (this.#closed) {
        if (this.#error !== undefined) throw this.#error;
        return;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
