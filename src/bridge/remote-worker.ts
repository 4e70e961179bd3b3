/**
 * One worker behind the wire: its state, and the requests that wait for its answers. Driven by
 * `link.ts`.
 */
import { randomBytes } from 'node:crypto';
import { BridgeError, reasonOf } from './errors.ts';
import {
  type Decoded,
  describeIssues,
  encode,
  type Limits,
  type Outgoing,
  sizeOf,
} from './frames.ts';
import type { FromController, FromWorker, MessageOf } from './messages.ts';
import { type Arguments, type OperationName, operations, type Result } from './operations.ts';
import { Pending } from './pending.ts';
import type { Tensors } from './tensor.ts';
import type { Reply, RequestOptions, Worker } from './worker.ts';

/** A cancelled request is given up after so long, should the operation not look at its context. */
const CANCEL_GRACE_MS = 10_000;
/**
 * Connections that break one after the other without an answer or work on one. Where the heartbeats
 * drop them, that takes two minutes.
 */
const MOST_RESENDS = 10;
/** A shorter silence is not worth a word. */
const SILENCE_WORTH_TELLING_MS = 5_000;

export interface RemoteWorkerOptions {
  readonly hello: MessageOf<'hello'>;
  /** The peer's name on the transport. */
  readonly identity: string;
  readonly limits: Limits;
  readonly send: (frames: readonly Buffer[]) => Promise<void>;
  readonly log: (line: string) => void;
}

export class RemoteWorker implements Worker {
  readonly name: string;
  readonly startId: string;
  readonly pid: number;
  readonly host: string;
  readonly identity: string;
  /** `performance.now()` of the last message; later if the controller itself was held up. */
  lastHeard = performance.now();
  /** The last heartbeat. */
  heartbeat: MessageOf<'heartbeat'> | null = null;
  readonly #options: RemoteWorkerOptions;
  readonly #pending = new Map<string, Pending>();
  /** Ids must differ between controllers: a worker by hand may outlive one. */
  readonly #idPrefix = randomBytes(6).toString('hex');
  #lastId = 0;
  #ready: MessageOf<'ready'> | null = null;
  #lost: BridgeError | null = null;
  #draining = false;
  /** `performance.now()` of the first pulse that found no connection; null: the last found one. */
  #cutSince: number | null = null;
  /** `performance.now()` of the first end of a request since it was heard, if there was one. */
  #idleSince = performance.now();
  /** Connections since the last answer, or news of work on a request. */
  #fruitless = 0;

  constructor(options: RemoteWorkerOptions) {
    this.#options = options;
    this.name = options.hello.name;
    this.startId = options.hello.start_id;
    this.pid = options.hello.pid;
    this.host = options.hello.host;
    this.identity = options.identity;
  }

  get ready(): MessageOf<'ready'> {
    if (this.#ready === null)
      throw new BridgeError('bad_state', `worker ${this.name} is not ready yet`, {
        worker: this.name,
      });
    return this.#ready;
  }

  get isReady(): boolean {
    return this.#ready !== null;
  }

  /** Why it is gone; null while it lives. */
  get lost(): BridgeError | null {
    return this.#lost;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /**
   * What it loads or serves may hold Python up, or its answer may take long on the way. Without a
   * connection nothing is on the way.
   */
  get mayBeSilent(): boolean {
    return this.#cutSince === null && (!this.isReady || this.#pending.size > 0);
  }

  /**
   * `performance.now()` from which on its silence counts: not while it had a request, as long as it
   * had a connection.
   */
  get quietSince(): number {
    return Math.max(this.lastHeard, this.#cutSince ?? this.#idleSince);
  }

  /** The controller was held up for so long, and with it the reading of what was said. */
  excuse(milliseconds: number): void {
    this.lastHeard += milliseconds;
    this.#idleSince += milliseconds;
    if (this.#cutSince !== null) this.#cutSince += milliseconds;
  }

  /** What it is known to do, such as `it was running sample for 40 ms`; may be empty. */
  get doing(): string {
    const running = this.heartbeat?.running;
    if (running) return `it was running ${running.operation} for ${running.elapsed_ms} ms`;
    const [first] = this.#pending.values();
    return first === undefined
      ? ''
      : `it was sent ${first.operation} ${secondsSince(first.startedAt)} s ago`;
  }

  async request<O extends OperationName>(
    operation: O,
    args: Arguments<O>,
    options: RequestOptions = {},
  ): Promise<Reply<O>> {
    const frames = this.#frame(operation, args, options);
    if (options.signal?.aborted)
      throw this.#error('cancelled', `${operation} was cancelled before it was sent`);
    const pending = new Pending({
      id: frames.id,
      worker: this.name,
      operation,
      frames: frames.frames,
      onPartial: options.onPartial,
      settled: ({ id }) => {
        this.#pending.delete(id);
        // The ends of further requests, by their own deadlines, are no signs of life.
        if (this.#idleSince <= this.lastHeard) this.#idleSince = performance.now();
      },
    });
    this.#pending.set(pending.id, pending);
    this.#watch(pending, options);
    this.#send(pending);
    const { result, tensors, seconds } = await pending.answer;
    return { result: result as Result<O>, tensors, seconds };
  }

  #frame(
    operation: OperationName,
    args: unknown,
    options: RequestOptions,
  ): { id: string; frames: readonly Buffer[] } {
    if (this.#lost !== null) throw this.#error('worker_lost', this.#lost.message);
    if (this.#draining)
      throw this.#error('closed', `worker ${this.name} is being closed and takes no more requests`);
    const parsed = operations[operation].arguments.safeParse(args);
    if (!parsed.success)
      throw this.#error('bad_arguments', `${operation}: ${describeIssues(parsed.error)}`);
    const id = `${this.#idPrefix}-${++this.#lastId}`;
    const message: Outgoing<MessageOf<'request'>> = {
      type: 'request',
      id,
      operation,
      arguments: parsed.data as MessageOf<'request'>['arguments'],
      deadline_ms:
        options.deadlineMs === undefined ? null : Math.max(1, Math.ceil(options.deadlineMs)),
    };
    const frames = encode(message, options.tensors);
    const bytes = sizeOf(frames);
    if (bytes > this.#options.limits.maxMessageBytes) {
      throw this.#error(
        'bad_arguments',
        `${operation}: ${bytes} bytes exceed the limit of ` +
          `${this.#options.limits.maxMessageBytes} for one message`,
      );
    }
    return { id, frames };
  }

  #watch(pending: Pending, { deadlineMs, signal }: RequestOptions): void {
    if (deadlineMs !== undefined) {
      pending.after(deadlineMs, () => {
        this.send({ type: 'cancel', id: pending.id });
        const silent = performance.now() - this.lastHeard > SILENCE_WORTH_TELLING_MS;
        const silence = `; the worker has said nothing for ${secondsSince(this.lastHeard)} s`;
        pending.reject('deadline', `no answer within ${deadlineMs} ms${silent ? silence : ''}`);
      });
    }
    if (signal === undefined) return;
    const cancel = () => {
      pending.cancelled = true;
      this.send({ type: 'cancel', id: pending.id });
      pending.after(CANCEL_GRACE_MS, () =>
        pending.reject(
          'cancelled',
          `cancelled, but the worker has not confirmed it within ${CANCEL_GRACE_MS / 1000} s`,
        ),
      );
    };
    signal.addEventListener('abort', cancel, { once: true });
    pending.onSettled(() => signal.removeEventListener('abort', cancel));
  }

  #send(pending: Pending): void {
    pending.idleHeartbeats = 0;
    // A peer that can't be reached now is sent all of this again when it is back, or it is lost.
    this.#options
      .send(pending.frames)
      .catch((error) => this.#options.log(`worker ${this.name}: ${reasonOf(error)}`));
  }

  /** Sends a message without tensors; nothing happens if the peer can't be reached. */
  send(message: Outgoing<FromController>): void {
    this.#options.send(encode(message)).catch(() => {});
  }

  /** Sends a pulse, which tells whether there is a connection. */
  pulse(sequence: number): void {
    this.#options.send(encode({ type: 'pulse', sequence })).then(
      () => {
        this.#cutSince = null;
      },
      () => {
        this.#cutSince ??= performance.now();
      },
    );
  }

  /**
   * After a reconnect, messages of either direction may be lost: everything unanswered is sent
   * again, in the order of the requests; the worker knows the ids it has seen, and takes nothing
   * on a connection before `welcome`. A request that never gets through ends in an error.
   */
  resend(): void {
    const [first] = this.#pending.values();
    if (first !== undefined && ++this.#fruitless > MOST_RESENDS) {
      this.#fruitless = 0;
      first.reject(
        'unreachable',
        `its ${first.bytes} bytes were sent ${MOST_RESENDS} times, and each time the connection ` +
          'broke before an answer came. Use a link that holds and carries 1 Mbit/s, or send less ' +
          'at a time (smaller batches)',
      );
      this.send({ type: 'cancel', id: first.id });
    }
    for (const pending of this.#pending.values()) {
      pending.sentAnew();
      this.#send(pending);
      if (pending.cancelled) this.send({ type: 'cancel', id: pending.id });
    }
  }

  /** A message of this worker, except hello and bye. */
  receive({ message, tensors }: Decoded<FromWorker>): void {
    const isIdle = message.type === 'heartbeat' && message.running === null && message.queued === 0;
    if (message.type !== 'ready' && !isIdle) this.#fruitless = 0;
    switch (message.type) {
      case 'ready':
        this.#ready ??= message;
        break;
      case 'heartbeat':
        this.#compareWith(message);
        break;
      case 'partial':
        this.#partial(message, tensors);
        break;
      case 'result':
        this.#result(message, tensors);
        break;
      case 'error':
        if (message.id === null)
          this.#options.log(`worker ${this.name}: ${message.code}: ${message.message}`);
        else
          this.#pending.get(message.id)?.reject(message.code, message.message, message.traceback);
        break;
    }
  }

  #compareWith(heartbeat: MessageOf<'heartbeat'>): void {
    this.heartbeat = heartbeat;
    if (heartbeat.running !== null || heartbeat.queued > 0 || !this.isReady) return;
    for (const pending of this.#pending.values())
      if (++pending.idleHeartbeats >= pending.patience) {
        // A large one may not have arrived yet, and its copies would hold up what follows.
        pending.patience *= 2;
        this.#send(pending);
      }
  }

  #partial(message: MessageOf<'partial'>, tensors: Tensors): void {
    const pending = this.#pending.get(message.id);
    try {
      pending?.partial(message.sequence, message.data, tensors);
    } catch (error) {
      this.send({ type: 'cancel', id: message.id });
      pending?.reject('function_error', `onPartial threw: ${reasonOf(error)}`);
    }
  }

  #result(message: MessageOf<'result'>, tensors: Tensors): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    const parsed = operations[pending.operation].result.safeParse(message.result);
    if (parsed.success) pending.resolve({ result: parsed.data, tensors, seconds: message.seconds });
    else
      pending.reject(
        'bad_message',
        `the worker's answer is not valid: ${describeIssues(parsed.error)}`,
      );
  }

  /** Rejects the request an unreadable message belonged to. */
  refuse(id: string | null, reason: string): void {
    if (id !== null)
      this.#pending.get(id)?.reject('bad_message', `the worker's answer is not valid: ${reason}`);
  }

  drain(): void {
    this.#draining = true;
    this.send({ type: 'drain' });
  }

  /**
   * Ends every request with `worker_lost`; the reason should say since when and show the end of the
   * worker's log.
   */
  lose(reason: string): BridgeError {
    this.#lost ??= this.#error('worker_lost', reason);
    for (const pending of [...this.#pending.values()]) {
      const seconds = secondsSince(pending.startedAt);
      pending.reject('worker_lost', `no answer after ${seconds} s, for ${reason}`);
    }
    return this.#lost;
  }

  #error(code: BridgeError['code'], message: string): BridgeError {
    return new BridgeError(code, message, { worker: this.name });
  }
}

/** @param moment of `performance.now()` */
function secondsSince(moment: number): string {
  return ((performance.now() - moment) / 1000).toFixed(1);
}
