/**
 * The controller's end of the wire to a host: one host at a time, its asks in their order, and a
 * pulse so that it knows that somebody is there.
 */
import { BridgeError, type BridgeErrorCode, reasonOf } from '../bridge/errors.ts';
import {
  decode,
  describeIssues,
  encode,
  type Outgoing,
  readableId,
  STRANGER_LIMITS,
} from '../bridge/frames.ts';
import {
  type HostArguments,
  type HostOperationName,
  hostOperations,
} from '../bridge/host-operations.ts';
import {
  type ErrorCode,
  errorCodes,
  fromHost,
  type Message,
  type MessageOf,
  PROTOCOL_VERSION,
} from '../bridge/messages.ts';
import { Refusals } from '../bridge/refusals.ts';
import { schemaHash } from '../bridge/schema.ts';
import type { Tensors } from '../bridge/tensor.ts';
import type { Transport } from '../bridge/transport.ts';
import { ConfigError } from '../config/error.ts';
import { type AskHost, ReverseRequests } from './reverse-requests.ts';

export interface HostAnswer {
  readonly result: Record<string, unknown>;
  readonly tensors?: Tensors;
  /** Called after the answer was sent. */
  readonly afterwards?: () => void;
}

export interface HostAsk<O extends HostOperationName = HostOperationName> {
  readonly operation: O;
  readonly arguments: HostArguments<O>;
  readonly tensors: Tensors;
  /** Sends the host a progress report. */
  progress(data: Record<string, unknown>): void;
}

export interface HostLinkOptions {
  readonly transport: Transport;
  readonly maxMessageBytes: number;
  readonly answer: (ask: HostAsk) => Promise<HostAnswer>;
  readonly log: (line: string) => void;
  readonly pulseMs?: number;
  /** A host whose connection is gone for so long is gone. */
  readonly absenceMs?: number;
}

/**
 * A host waits for one answer at a time; a few more are kept for a message that was long on its
 * way.
 */
const KEPT_ANSWERS = 4;
/** A trainer may be suspended for a while, or its tunnel be down. */
const ABSENCE_MS = 600_000;

export class HostLink {
  readonly #options: HostLinkOptions;
  readonly #refusals: Refusals;
  #host: string | null = null;
  #asks: Promise<void> = Promise.resolve();
  #sequence = 0;
  #absentSince: number | null = null;
  readonly #timer: NodeJS.Timeout;
  /**
   * Frames of the last answers, by the ask's id; null: it is not answered yet. A host that lost its
   * connection asks again.
   */
  readonly #answers = new Map<string, readonly Buffer[] | null>();
  readonly #reverse = new ReverseRequests((frames) => this.#hand(frames));
  #end!: (reason: string) => void;
  /** Why the host is gone; resolves once. */
  readonly gone: Promise<string>;

  constructor(options: HostLinkOptions) {
    this.#options = options;
    this.#refusals = new Refusals(options.log);
    this.gone = new Promise((resolve) => {
      this.#end = (reason) => {
        this.#reverse.end(reason);
        resolve(reason);
      };
    });
    options.transport.start({
      message: (identity, frames) => this.#receive(identity, frames),
      connection: ({ kind, detail }) => {
        // Connections come from any peer; pulses show whether the host is there.
        if (kind === 'refused') this.#refusals.say(`a connection was refused: ${detail}`);
      },
    });
    this.#timer = setInterval(() => void this.#pulse(), options.pulseMs ?? 1_000);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#reverse.end('the controller ends');
  }

  /** Asks the host for something, while it waits for the answer to its own ask. */
  get askHost(): AskHost {
    return this.#reverse.ask;
  }

  /** A word to the host, which can't be handed over where its connection is gone. */
  async #pulse(): Promise<void> {
    if (this.#host === null) return;
    try {
      await this.#options.transport.send(
        this.#host,
        encode({ type: 'pulse', sequence: this.#sequence++ }),
      );
      this.#absentSince = null;
    } catch {
      const { absenceMs = ABSENCE_MS } = this.#options;
      this.#absentSince ??= performance.now();
      if (performance.now() - this.#absentSince >= absenceMs)
        this.#end(`the host's connection was lost ${absenceMs / 1000} s ago`);
    }
  }

  #receive(identity: string, frames: Buffer[]): void {
    const isHost = identity === this.#host;
    try {
      const { message, tensors } = decode(
        frames,
        fromHost,
        isHost ? this.#options : STRANGER_LIMITS,
      );
      if (message.type === 'hello') this.#greet(identity, message);
      else if (!isHost) this.#reject(identity, 'bad_message', 'say hello first');
      else if (message.type === 'bye') this.#end(`the host said goodbye: ${message.reason}`);
      else if (message.type === 'ask') this.#take(message, tensors);
      else if (!this.#reverse.take(message, tensors))
        this.#refusals.say(`an answer to what was not asked: ${message.id}`);
    } catch (error) {
      const reason = reasonOf(error);
      this.#refusals.say(`a message was refused: ${reason}`);
      if (!isHost) this.#reject(identity, 'bad_message', reason);
      else
        this.#sendHost({
          type: 'error',
          id: readableId(frames),
          code: 'bad_message',
          message: reason,
          traceback: null,
        });
    }
  }

  #greet(identity: string, hello: MessageOf<'hello'>): void {
    const fits = hello.protocol_min <= PROTOCOL_VERSION && hello.protocol_max >= PROTOCOL_VERSION;
    if (this.#host !== null && this.#host !== identity)
      this.#reject(identity, 'duplicate_name', 'this controller serves another host already');
    else if (!fits || hello.schema_hash !== schemaHash())
      this.#reject(
        identity,
        fits ? 'schema' : 'protocol',
        `the host's messages have schema ${hello.schema_hash}, the controller's ` +
          `${schemaHash()}: install the same version of GenAC on both sides`,
      );
    else {
      this.#host = identity;
      this.#options.transport.admit(identity);
      this.#sendHost({
        type: 'welcome',
        protocol: PROTOCOL_VERSION,
        heartbeat_ms: this.#options.pulseMs ?? 1_000,
        controller_timeout_ms: 60_000,
        max_message_bytes: this.#options.maxMessageBytes,
      });
      this.#reverse.again();
    }
  }

  #reject(identity: string, code: MessageOf<'reject'>['code'], message: string): void {
    if (this.#refusals.mayAnswer(identity)) this.#send(identity, { type: 'reject', code, message });
  }

  /**
   * Serves each ask once, however often it comes: one that comes again gets the answer that was
   * lost.
   */
  #take(ask: MessageOf<'ask'>, tensors: Tensors): void {
    const known = this.#answers.get(ask.id);
    if (known === null) return; // it is being served
    if (known !== undefined) {
      this.#hand(known);
      return;
    }
    this.#answers.set(ask.id, null);
    const answered = [...this.#answers].flatMap(([id, frames]) => (frames === null ? [] : [id]));
    for (const id of answered.slice(0, Math.max(0, answered.length - KEPT_ANSWERS)))
      this.#answers.delete(id);
    this.#asks = this.#asks.then(() => this.#serve(ask, tensors));
  }

  async #serve(
    { id, operation, arguments: given }: MessageOf<'ask'>,
    tensors: Tensors,
  ): Promise<void> {
    const began = performance.now();
    let sequence = 0;
    try {
      const read = hostOperations[operation].arguments.safeParse(given);
      if (!read.success)
        throw new BridgeError('bad_arguments', `${operation}: ${describeIssues(read.error)}`);
      const answer = await this.#options.answer({
        ...{ operation, arguments: read.data, tensors },
        progress: (data) =>
          this.#sendHost({ type: 'partial', id, sequence: sequence++, data } as Outgoing<
            MessageOf<'partial'>
          >),
      });
      const seconds = (performance.now() - began) / 1000;
      const result = { type: 'result', id, result: answer.result, seconds };
      this.#settle(id, encode(result as Outgoing<MessageOf<'result'>>, answer.tensors));
      answer.afterwards?.();
    } catch (error) {
      const traceback = error instanceof BridgeError ? error.traceback : null;
      const refusal = {
        type: 'error',
        id,
        code: codeOf(error),
        message: reasonOf(error),
        traceback,
      } as const;
      this.#settle(id, encode(refusal));
    }
  }

  #settle(id: string, frames: readonly Buffer[]): void {
    this.#answers.set(id, frames);
    this.#hand(frames);
  }

  /** What can't be handed over now, the host asks for once more when it is back. */
  #hand(frames: readonly Buffer[]): void {
    if (this.#host !== null) this.#options.transport.send(this.#host, frames).catch(() => {});
  }

  #sendHost(message: Outgoing<Message>, tensors?: Tensors): void {
    if (this.#host !== null) this.#send(this.#host, message, tensors);
  }

  #send(identity: string, message: Outgoing<Message>, tensors?: Tensors): void {
    this.#options.transport.send(identity, encode(message, tensors)).catch(() => {});
  }
}

function codeOf(error: unknown): ErrorCode {
  if (error instanceof ConfigError || error instanceof RangeError) return 'bad_arguments';
  const code: BridgeErrorCode = error instanceof BridgeError ? error.code : 'internal';
  return (errorCodes as readonly string[]).includes(code) ? (code as ErrorCode) : 'internal';
}
