/**
 * A host for tests, and a controller that serves it over the transport without sockets; ended after
 * each test.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect } from 'vitest';
import { decode, encode } from '../../src/bridge/frames.ts';
import type { HostOperationName } from '../../src/bridge/host-operations.ts';
import { MemoryTransport } from '../../src/bridge/memory-transport.ts';
import {
  anyMessage,
  type Message,
  type MessageOf,
  PROTOCOL_VERSION,
} from '../../src/bridge/messages.ts';
import { schemaHash } from '../../src/bridge/schema.ts';
import { type Tensors, tensor } from '../../src/bridge/tensor.ts';
import { serveOver } from '../../src/host/server.ts';

export const scratch = mkdtempSync(join(tmpdir(), 'genac-host-'));
export const critic = fileURLToPath(new URL('./own-critic.ts', import.meta.url));
export const limits = { maxMessageBytes: 2 ** 20 };

export class Host {
  readonly heard: { message: Message; tensors: Tensors }[] = [];
  readonly #peer;
  #waiting: (() => void)[] = [];
  #asked = 0;

  constructor(transport: MemoryTransport, name = 'host') {
    this.#peer = transport.connect(name, (frames) => {
      this.heard.push(decode(frames, anyMessage, limits));
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  async next<T extends Message['type']>(
    ...types: T[]
  ): Promise<{ message: MessageOf<T>; tensors: Tensors }> {
    for (;;) {
      const at = this.heard.findIndex(({ message }) => (types as string[]).includes(message.type));
      if (at >= 0)
        return this.heard.splice(at, 1)[0] as { message: MessageOf<T>; tensors: Tensors };
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  hello(schema_hash = schemaHash()): void {
    const versions = {
      protocol_min: PROTOCOL_VERSION,
      protocol_max: PROTOCOL_VERSION,
      schema_hash,
    };
    this.send({ type: 'hello', name: 'host', start_id: 's', pid: 1, host: 'here', ...versions });
  }

  leave(): void {
    this.#peer.close();
  }

  send(message: Parameters<typeof encode>[0], tensors: Tensors = {}): void {
    this.#peer.send(encode(message, tensors));
  }

  async ask(operation: HostOperationName, given: object, tensors: Tensors = {}) {
    const id = `q${++this.#asked}`;
    this.send(
      { type: 'ask', id, operation, arguments: given as MessageOf<'ask'>['arguments'] },
      tensors,
    );
    const answer = await this.next('result', 'error');
    expect(answer.message.id).toBe(id);
    if (answer.message.type === 'error')
      throw new Error(`${answer.message.code}: ${answer.message.message}`);
    return { result: answer.message.result as Record<string, never>, tensors: answer.tensors };
  }
}

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end()));
});

export function start() {
  const transport = new MemoryTransport();
  const stop = new AbortController();
  const log: string[] = [];
  const served = serveOver(transport, { log: (line) => log.push(line), signal: stop.signal });
  ends.push(() => {
    stop.abort('the test is over');
    return served;
  });
  return { transport, served, log };
}

/** @param more arguments of `open` besides the options */
export async function opened(options: object = {}, more: object = {}) {
  const parts = start();
  const host = new Host(parts.transport);
  host.hello();
  await host.next('welcome');
  const credit = { segmentation: { by: 'tokens', tokens: 2 } };
  const given = {
    critic: { use: critic },
    credit,
    gates: { explained_variance: false },
    ...options,
  };
  await host.ask('open', {
    ...{ config_file: null, options: given, base: scratch, logs: join(scratch, 'logs') },
    actor: { name: 'a', parameters: 10 },
    ...more,
  });
  return { ...parts, host };
}

/** Two responses to one problem, three tokens each: `ab1` and `2cd`. */
export const batch = (changes: object = {}) =>
  [
    {
      purpose: 'joint',
      iteration: 0,
      iterations: 4,
      prompts: ['say it'],
      texts: ['ab1', '2cd'],
      finished: [true, false],
      scale: 'none',
      report: 2,
      ...changes,
    },
    {
      completion_ids: tensor(Int32Array.of(1, 2, 3, 4, 5, 6)),
      cu_seqlens: tensor(Int32Array.of(0, 3, 6)),
      text_ends: tensor(Int32Array.of(1, 2, 3, 1, 2, 3)),
      problems: tensor(Int32Array.of(0, 0)),
      rewards: tensor(Float64Array.of(1, 0)),
    } as Tensors,
  ] as const;
