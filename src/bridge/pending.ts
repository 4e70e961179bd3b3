import { BridgeError, type BridgeErrorCode } from './errors.ts';
import { sizeOf } from './frames.ts';
import type { OperationName } from './operations.ts';
import type { Tensors } from './tensor.ts';

export interface Answer {
  readonly result: unknown;
  readonly tensors: Tensors;
  readonly seconds: number;
}

export interface PendingOptions {
  readonly id: string;
  readonly worker: string;
  readonly operation: OperationName;
  /** Kept until the answer is there, so that a lost request can be sent again. */
  readonly frames: readonly Buffer[];
  readonly onPartial: ((partial: { data: never; tensors: Tensors }) => void) | undefined;
  readonly settled: (pending: Pending) => void;
}

/**
 * A timer that fires so late was held up with this process (Ctrl-Z, a blocked event loop): answers
 * that came meanwhile are read first, for as long.
 */
const HELD_UP_MS = 1_000;
/**
 * An idle worker may not have all of a large request yet: so many bytes arrive between two of its
 * heartbeats on the slowest link that the bridge serves (1 Mbit/s).
 */
const BYTES_PER_HEARTBEAT = 100_000;

/** One request that waits for its answer. Settles once; what comes later is ignored. */
export class Pending {
  readonly id: string;
  readonly operation: OperationName;
  readonly frames: readonly Buffer[];
  readonly answer: Promise<Answer>;
  readonly startedAt = performance.now();
  readonly bytes: number;
  /**
   * Heartbeats of an idle worker since the request was sent: two of them mean that it, or its
   * answer, was lost.
   */
  idleHeartbeats = 0;
  /** As many of them are waited for before it is sent again; twice as many each time. */
  patience = 0;
  /** Set once cancelling was asked for. */
  cancelled = false;
  readonly #options: PendingOptions;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #cleanups: (() => void)[] = [];
  #nextPartial = 0;
  #resolve!: (answer: Answer) => void;
  #reject!: (error: BridgeError) => void;
  #done = false;

  constructor(options: PendingOptions) {
    this.id = options.id;
    this.operation = options.operation;
    this.frames = options.frames;
    this.bytes = sizeOf(options.frames);
    this.sentAnew();
    this.#options = options;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** On a new connection nothing of it has arrived. */
  sentAnew(): void {
    this.patience = 2 + Math.floor(this.bytes / BYTES_PER_HEARTBEAT);
  }

  /** Calls `action` after `milliseconds`, unless the request was settled before. */
  after(milliseconds: number, action: () => void): void {
    const due = performance.now() + milliseconds;
    const fire = () =>
      performance.now() - due > HELD_UP_MS ? this.after(HELD_UP_MS, action) : action();
    this.#timers.push(setTimeout(fire, milliseconds));
  }

  onSettled(cleanup: () => void): void {
    this.#cleanups.push(cleanup);
  }

  /**
   * Hands a part on; parts that were seen already (the worker repeated itself) are dropped. Throws
   * what the caller's function throws.
   */
  partial(sequence: number, data: unknown, tensors: Tensors): void {
    if (this.cancelled || sequence < this.#nextPartial) return;
    this.#nextPartial = sequence + 1;
    this.#options.onPartial?.({ data: data as never, tensors });
  }

  resolve(answer: Answer): void {
    if (this.cancelled)
      this.reject('cancelled', 'cancelled, but the worker had finished it already');
    else if (this.#settle()) this.#resolve(answer);
  }

  reject(code: BridgeErrorCode, message: string, traceback: string | null = null): void {
    if (!this.#settle()) return;
    const { worker, operation } = this.#options;
    this.#reject(
      new BridgeError(code, `${operation} on worker ${worker}: ${message}`, { worker, traceback }),
    );
  }

  #settle(): boolean {
    if (this.#done) return false;
    this.#done = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const cleanup of this.#cleanups) cleanup();
    this.#options.settled(this);
    return true;
  }
}
