/**
 * The controller's end of the bridge: who may connect, who is alive, and what is said at the end.
 * Three tiers of liveness: heartbeats drop dead connections; whoever started a process reports its
 * death with `lose`; and a worker that says nothing for `silenceMs` is lost, or for `busySilenceMs`
 * while it has a request. Times are of a clock that nobody sets (`performance.now`).
 */
import { BridgeError, reasonOf } from './errors.ts';
import { decode, encode, type Outgoing, readableId, STRANGER_LIMITS } from './frames.ts';
import { type FromController, fromWorker, type MessageOf, PROTOCOL_VERSION } from './messages.ts';
import { Refusals } from './refusals.ts';
import { RemoteWorker } from './remote-worker.ts';
import { schemaHash } from './schema.ts';
import type { Transport } from './transport.ts';

export interface LinkOptions {
  readonly transport: Transport;
  /** Between heartbeats, in both directions. Default 1000. */
  readonly heartbeatMs?: number | undefined;
  /**
   * A worker that says nothing for so long is lost, if it has no request or no connection. Default
   * 30 000: more than twice what it takes to drop a dead connection and make a new one.
   */
  readonly silenceMs?: number | undefined;
  /**
   * A worker that says nothing for so long while it loads or has a request is lost. Default
   * 600 000: in which 15 Mbit/s carry the largest answer.
   */
  readonly busySilenceMs?: number | undefined;
  /** A worker that hears nothing for so long ends itself. Default 60 000. */
  readonly controllerTimeoutMs?: number | undefined;
  /** Of one message, all frames together. Default 1 GiB. */
  readonly maxMessageBytes?: number | undefined;
  /** Warnings, one line each. Default: stderr. */
  readonly log?: ((line: string) => void) | undefined;
}

export const DEFAULT_MAX_MESSAGE_BYTES = 2 ** 30;

export interface Expectation {
  /** End of the worker's log, for errors; may be empty. */
  readonly logTail?: () => string;
  /** The `start_id` of the process that was started for this name; then no other may have it. */
  readonly startId?: string;
}

interface Expected {
  worker: RemoteWorker | null;
  readonly startId: string | undefined;
  /** End of the worker's log, for errors; may be empty. */
  readonly logTail: () => string;
  readonly resolve: (worker: RemoteWorker) => void;
  readonly reject: (error: BridgeError) => void;
  readonly gone: Promise<void>;
  readonly leave: () => void;
}

export class Link {
  readonly #transport: Transport;
  readonly #heartbeatMs: number;
  readonly #silenceMs: number;
  readonly #busySilenceMs: number;
  readonly #controllerTimeoutMs: number;
  readonly #limits: { readonly maxMessageBytes: number };
  readonly #log: (line: string) => void;
  readonly #refusals: Refusals;
  readonly #expected = new Map<string, Expected>();
  readonly #byIdentity = new Map<string, RemoteWorker>();
  readonly #lostListeners = new Set<(error: BridgeError) => void>();
  readonly #timer: NodeJS.Timeout;
  #lastTick = performance.now();
  #sequence = 0;
  #closing: Promise<void> | null = null;

  constructor(options: LinkOptions) {
    this.#transport = options.transport;
    this.#heartbeatMs = options.heartbeatMs ?? 1_000;
    this.#silenceMs = options.silenceMs ?? 30_000;
    this.#busySilenceMs = options.busySilenceMs ?? 600_000;
    this.#controllerTimeoutMs = options.controllerTimeoutMs ?? 60_000;
    this.#limits = { maxMessageBytes: options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES };
    this.#log = options.log ?? ((line) => console.error(`[bridge] ${line}`));
    this.#refusals = new Refusals(this.#log);
    this.#transport.start({
      message: (identity, frames) => this.#receive(identity, frames),
      connection: ({ kind, detail }) => {
        if (kind === 'refused') this.#refusals.say(`a connection was refused: ${detail}`);
      },
    });
    this.#timer = setInterval(() => this.#tick(), this.#heartbeatMs);
  }

  /**
   * Lets a worker of this name connect. Resolves when it is ready; rejects when it ends before.
   * Names are unique.
   */
  expect(name: string, { logTail = () => '', startId }: Expectation = {}): Promise<RemoteWorker> {
    if (this.#expected.has(name))
      throw new BridgeError('refused', `two workers are named ${name}`, { worker: name });
    return new Promise((resolve, reject) => {
      let leave!: () => void;
      const gone = new Promise<void>((resolveGone) => {
        leave = resolveGone;
      });
      this.#expected.set(name, { worker: null, startId, logTail, resolve, reject, gone, leave });
    });
  }

  isReady(name: string): boolean {
    return this.#expected.get(name)?.worker?.isReady ?? false;
  }

  /**
   * Called with a `worker_lost` error for each worker that is lost, once. Returns what ends that.
   */
  onLost(listener: (error: BridgeError) => void): () => void {
    this.#lostListeners.add(listener);
    return () => this.#lostListeners.delete(listener);
  }

  /**
   * Declares a worker dead: its process ended, or it was silent. Nothing happens the second time.
   */
  lose(name: string, reason: string): void {
    const expected = this.#expected.get(name);
    if (expected === undefined) return;
    this.#expected.delete(name);
    expected.leave();
    const { worker } = expected;
    // One that was started by hand may live, and would wait for work that never comes.
    worker?.send({ type: 'shutdown', reason });
    const tail = expected.logTail();
    const whole = `worker ${name} ${reason}${tail === '' ? '' : `; the end of its log:\n${tail}`}`;
    if (worker !== null) this.#byIdentity.delete(worker.identity);
    const error = worker?.lose(whole);
    if (error === undefined || !worker?.isReady) {
      expected.reject(
        new BridgeError('start_failed', `${whole} (before it was ready)`, { worker: name }),
      );
      return;
    }
    if (this.#closing === null) for (const listener of this.#lostListeners) listener(error);
  }

  /**
   * Ends all workers in order: what is queued is finished (`drainMs` at most), then they are told
   * to end, and the transport is closed. Bounded by `drainMs` + 1 s; never rejects.
   */
  close(drainMs = 5_000): Promise<void> {
    this.#closing ??= this.#close(drainMs);
    return this.#closing;
  }

  async #close(drainMs: number): Promise<void> {
    const gone = Promise.all(
      [...this.#expected.values()].map((one) => (one.worker === null ? undefined : one.gone)),
    );
    for (const worker of this.#byIdentity.values()) worker.drain();
    await atMost(gone, drainMs);
    for (const worker of this.#byIdentity.values()) {
      worker.send({ type: 'shutdown', reason: 'the controller is closing' });
    }
    await atMost(gone, 1_000);
    clearInterval(this.#timer);
    for (const name of [...this.#expected.keys()])
      this.lose(name, 'was still there when the controller closed');
    await this.#transport.close();
  }

  #receive(identity: string, frames: Buffer[]): void {
    const worker = this.#byIdentity.get(identity);
    try {
      const decoded = decode(
        frames,
        fromWorker,
        worker === undefined ? STRANGER_LIMITS : this.#limits,
      );
      if (worker !== undefined) worker.lastHeard = performance.now();
      const { message } = decoded;
      if (message.type === 'hello') this.#greet(identity, message);
      else if (worker === undefined) this.#reject(identity, 'bad_message', 'say hello first');
      else if (message.type === 'bye') this.lose(worker.name, `said goodbye: ${message.reason}`);
      else {
        const wasReady = worker.isReady;
        worker.receive(decoded);
        if (!wasReady && worker.isReady) this.#expected.get(worker.name)?.resolve(worker);
      }
    } catch (error) {
      const reason = reasonOf(error);
      const peer = worker === undefined ? 'an unknown peer' : `worker ${worker.name}`;
      this.#refusals.say(`a message of ${peer} was refused: ${reason}`);
      if (worker === undefined) this.#reject(identity, 'bad_message', reason);
      else worker.refuse(readableId(frames), reason);
    }
  }

  #greet(identity: string, hello: MessageOf<'hello'>): void {
    const expected = this.#expected.get(hello.name);
    const refusal = this.#refusal(hello, identity, expected);
    if (refusal !== null) {
      // No end of the start: the process that was started ends by itself when it hears this, and a
      // stranger may say anything.
      this.#refusals.say(
        `worker ${hello.name} (pid ${hello.pid} on ${hello.host}) was refused: ${refusal[1]}`,
      );
      this.#reject(identity, ...refusal);
      return;
    }
    const returning = expected!.worker !== null;
    const worker = expected!.worker ?? this.#admit(identity, hello);
    expected!.worker = worker;
    this.#transport.admit(identity);
    worker.send({
      type: 'welcome',
      protocol: PROTOCOL_VERSION,
      heartbeat_ms: this.#heartbeatMs,
      controller_timeout_ms: this.#controllerTimeoutMs,
      max_message_bytes: this.#limits.maxMessageBytes,
    });
    if (returning) worker.resend();
  }

  #admit(identity: string, hello: MessageOf<'hello'>): RemoteWorker {
    const worker = new RemoteWorker({
      hello,
      identity,
      limits: this.#limits,
      send: (frames) => this.#transport.send(identity, frames),
      log: this.#log,
    });
    this.#byIdentity.set(identity, worker);
    return worker;
  }

  #refusal(
    hello: MessageOf<'hello'>,
    identity: string,
    expected: Expected | undefined,
  ): [MessageOf<'reject'>['code'], string] | null {
    if (expected === undefined) {
      const names = [...this.#expected.keys()].join(', ') || 'none';
      return ['unknown_name', `no worker named ${hello.name} is expected (expected: ${names})`];
    }
    if (hello.protocol_min > PROTOCOL_VERSION || hello.protocol_max < PROTOCOL_VERSION) {
      return [
        'protocol',
        `the worker speaks protocol ${hello.protocol_min} to ${hello.protocol_max}, the ` +
          `controller ${PROTOCOL_VERSION}: install the same version of genac on both sides`,
      ];
    }
    if (hello.schema_hash !== schemaHash()) {
      return [
        'schema',
        `the worker's messages have schema ${hello.schema_hash}, the controller's ` +
          `${schemaHash()}: install the same version of genac on both sides`,
      ];
    }
    const { worker, startId } = expected;
    if (startId !== undefined && startId !== hello.start_id) {
      return [
        'duplicate_name',
        `worker ${hello.name} is a process that this controller has started`,
      ];
    }
    if (worker !== null && (worker.startId !== hello.start_id || worker.identity !== identity)) {
      return [
        'duplicate_name',
        `a worker named ${hello.name} is connected already (pid ${worker.pid} on ${worker.host})`,
      ];
    }
    return null;
  }

  #reject(identity: string, code: MessageOf<'reject'>['code'], message: string): void {
    if (!this.#refusals.mayAnswer(identity)) return;
    const reject: Outgoing<FromController> = { type: 'reject', code, message };
    this.#transport.send(identity, encode(reject)).catch(() => {});
  }

  #tick(): void {
    const now = performance.now();
    // When this process was held up, so were the messages it would have read: that isn't the
    // workers' silence.
    const late = Math.max(0, now - this.#lastTick - this.#heartbeatMs);
    this.#lastTick = now;
    this.#sequence += 1;
    for (const worker of [...this.#byIdentity.values()]) {
      worker.excuse(late);
      const limit = worker.mayBeSilent ? this.#busySilenceMs : this.#silenceMs;
      if (now - worker.quietSince <= limit) worker.pulse(this.#sequence);
      else {
        const silence = now - worker.lastHeard;
        const since = new Date(Date.now() - silence).toISOString();
        const doing = worker.doing === '' ? '' : `; ${worker.doing}`;
        this.lose(
          worker.name,
          `has said nothing for ${(silence / 1000).toFixed(1)} s (since ${since}${doing})`,
        );
      }
    }
  }
}

/** Waits for `promise`, but no longer than `milliseconds`. */
export async function atMost(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  const done = await Promise.race([promise.then(() => true), timeout]);
  clearTimeout(timer);
  return done;
}
