/** A worker for tests of the link, and a link for it to speak to; closed after each test. */
import { afterEach } from 'vitest';
import { decode, encode, type Outgoing } from '../../src/bridge/frames.ts';
import { Link, type LinkOptions } from '../../src/bridge/link.ts';
import { MemoryTransport } from '../../src/bridge/memory-transport.ts';
import {
  type FromController,
  type FromWorker,
  fromController,
  type MessageOf,
  PROTOCOL_VERSION,
} from '../../src/bridge/messages.ts';
import { schemaHash } from '../../src/bridge/schema.ts';
import type { Tensors } from '../../src/bridge/tensor.ts';

/** A worker whose every word the test writes. */
export class ScriptedWorker {
  readonly identity: string;
  readonly received: FromController[] = [];
  readonly #peer;
  readonly #waiting: (() => void)[] = [];
  #seen = 0;

  constructor(transport: MemoryTransport, identity = 'start-1') {
    this.identity = identity;
    this.#peer = transport.connect(identity, (frames) => {
      const { message } = decode(frames, fromController, { maxMessageBytes: 2 ** 30 });
      this.received.push(message);
      if (message.type === 'shutdown') this.say({ type: 'bye', reason: 'shutdown' });
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  say(message: Outgoing<FromWorker>, tensors: Tensors = {}): void {
    this.#peer.send(encode(message, tensors));
  }

  raw(frames: Buffer[]): void {
    this.#peer.send(frames);
  }

  hello(changes: Partial<MessageOf<'hello'>> = {}): void {
    this.say({
      type: 'hello',
      name: 'w',
      start_id: this.identity,
      protocol_min: PROTOCOL_VERSION,
      protocol_max: PROTOCOL_VERSION,
      schema_hash: schemaHash(),
      pid: 7,
      host: 'here',
      ...changes,
    });
  }

  ready(): void {
    this.say({ type: 'ready', versions: { python: '3' }, devices: [] });
  }

  /** The next message of this type that was not waited for yet; others are passed over. */
  async next<T extends FromController['type']>(
    type: T,
  ): Promise<Extract<FromController, { type: T }>> {
    for (;;) {
      const message = this.received[this.#seen];
      if (message === undefined) await new Promise<void>((resolve) => this.#waiting.push(resolve));
      else {
        this.#seen += 1;
        if (message.type === type) return message as Extract<FromController, { type: T }>;
      }
    }
  }

  answer(id: string, value: number, tensors: Tensors = {}): void {
    this.say({ type: 'result', id, result: { value }, seconds: 0.25 }, tensors);
  }

  idle(sequence: number): void {
    this.say({ type: 'heartbeat', sequence, running: null, queued: 0 });
  }

  drop(): void {
    this.#peer.close();
  }
}

const links: Link[] = [];
afterEach(async () => {
  for (const link of links.splice(0)) await link.close(0);
});

export function open(options: Partial<LinkOptions> = {}) {
  const transport = new MemoryTransport();
  const logged: string[] = [];
  const link = new Link({
    transport,
    heartbeatMs: 20,
    log: (line) => logged.push(line),
    ...options,
  });
  links.push(link);
  return { transport, link, logged };
}

export async function connected(options: Partial<LinkOptions> = {}) {
  const all = open(options);
  const starting = all.link.expect('w', { logTail: () => 'last words' });
  const peer = new ScriptedWorker(all.transport);
  peer.hello();
  await peer.next('welcome');
  peer.ready();
  return { ...all, peer, worker: await starting };
}

export const call = { function: 'a:b', keywords: {} };
