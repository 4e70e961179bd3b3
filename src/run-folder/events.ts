/**
 * Events of a run. The terminal, the run folder and a TypeScript script receive the same events.
 */
import type { StageName } from '../config/schema.ts';
import type { Settings } from '../config/settings.ts';

export type Metrics = Readonly<Record<string, number>>;

/** A position in a run: before iteration number `iteration` of a stage. */
export interface StagePosition {
  readonly stage: StageName;
  readonly iteration: number;
}

/** Changed values, and the iteration from which they apply. */
export interface SettingChange extends StagePosition {
  readonly values: Settings;
}

export type RunEvent =
  | { readonly type: 'message'; readonly text: string }
  | {
      readonly type: 'stage';
      readonly stage: StageName;
      readonly iterations: number;
      readonly from: number;
    }
  /** A phase of an iteration begins, e.g. `sample`, `value`, `update`. */
  | ({ readonly type: 'phase'; readonly phase: string } & StagePosition)
  /**
   * Metrics of a finished iteration (or step, or update); `iteration` counts from 0 within the
   * stage.
   */
  | ({ readonly type: 'iteration'; readonly metrics: Metrics } & StagePosition)
  /** Held-out figures, before iteration number `iteration`. */
  | ({ readonly type: 'evaluation'; readonly metrics: Metrics } & StagePosition)
  /**
   * Work before a stage's first iteration proceeds: `done` of `total`, such as an oracle's answers.
   */
  | ({
      readonly type: 'progress';
      readonly done: number;
      readonly total: number;
      readonly metrics: Metrics;
    } & StagePosition)
  | ({ readonly type: 'checkpoint'; readonly path: string } & StagePosition)
  /** Changed values, from this iteration on. */
  | ({ readonly type: 'set'; readonly values: Settings } & StagePosition)
  | ({ readonly type: 'paused' | 'resumed' } & StagePosition)
  | { readonly type: 'end'; readonly reason: 'done' | 'stopped' };

interface Node {
  readonly event: RunEvent | null;
  next: Node | null;
}

/** Number of events that are kept for a late first reader. */
const KEPT_UNREAD = 10_000;

/**
 * Events as an async iterable with any number of readers, none of which delays the run. The first
 * reader gets all events from the start (the last 10,000), later ones those after they began.
 * Events that every reader has seen are not kept.
 */
export class EventStream implements AsyncIterable<RunEvent> {
  #last: Node = { event: null, next: null };
  /**
   * The node before the first event that no reader has begun to read; null after the first reader.
   */
  #unread: Node | null = this.#last;
  #count = 0;
  #waiting: (() => void)[] = [];
  #closed = false;
  #error: unknown;

  push(event: RunEvent): void {
    this.#last = this.#last.next = { event, next: null };
    if (this.#unread && ++this.#count > KEPT_UNREAD) this.#unread = this.#unread.next;
    this.#wake();
  }

  /** Ends every reader, with an error if there is one. */
  close(error?: unknown): void {
    this.#closed = true;
    this.#error = error;
    this.#wake();
  }

  [Symbol.asyncIterator](): AsyncGenerator<RunEvent> {
    const from = this.#unread ?? this.#last;
    this.#unread = null;
    return this.#read(from);
  }

  async *#read(from: Node): AsyncGenerator<RunEvent> {
    let node = from;
    for (;;) {
      while (node.next) {
        node = node.next;
        yield node.event!;
      }
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
