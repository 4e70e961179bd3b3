/**
 * The transport without sockets, for tests of what stands above it: same order, same refusals,
 * delivery in a later turn of the event loop.
 */
import { BridgeError } from './errors.ts';
import type { Transport, TransportHandlers } from './transport.ts';

/** A worker's end. */
export interface MemoryPeer {
  readonly identity: string;
  send(frames: readonly Buffer[]): void;
  /** Disconnects; connecting again under the same identity is allowed. */
  close(): void;
}

export class MemoryTransport implements Transport {
  readonly endpoints = ['memory'];
  readonly #peers = new Map<string, (frames: Buffer[]) => void>();
  readonly #early: [string, Buffer[]][] = [];
  #handlers: TransportHandlers | null = null;
  #closed = false;

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    for (const [identity, frames] of this.#early.splice(0)) this.#deliver(identity, frames);
  }

  connect(identity: string, receive: (frames: Buffer[]) => void): MemoryPeer {
    this.#peers.set(identity, receive);
    this.#handlers?.connection({ kind: 'connected', detail: identity });
    return {
      identity,
      send: (frames) => {
        if (this.#peers.get(identity) === receive) this.#deliver(identity, copied(frames));
      },
      close: () => {
        if (this.#peers.get(identity) !== receive) return;
        this.#peers.delete(identity);
        this.#handlers?.connection({ kind: 'disconnected', detail: identity });
      },
    };
  }

  /** A peer in this process needs no admission. */
  admit(): void {}

  async send(identity: string, frames: readonly Buffer[]): Promise<void> {
    if (this.#closed) throw new BridgeError('closed', 'the transport is closed');
    const receive = this.#peers.get(identity);
    if (receive === undefined)
      throw new BridgeError('unreachable', `no peer ${identity} is connected`);
    const message = copied(frames);
    setImmediate(() => {
      if (!this.#closed && this.#peers.get(identity) === receive) receive(message);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#peers.clear();
  }

  #deliver(identity: string, frames: Buffer[]): void {
    if (this.#handlers === null) {
      this.#early.push([identity, frames]);
      return;
    }
    setImmediate(() => {
      if (!this.#closed) this.#handlers?.message(identity, frames);
    });
  }
}

function copied(frames: readonly Buffer[]): Buffer[] {
  return frames.map((frame) => Buffer.from(frame));
}
