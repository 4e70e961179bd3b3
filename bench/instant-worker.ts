/**
 * A worker that answers at once, with answers as large as a real one's. What is left of an
 * iteration's time is the controller's own.
 *
 * As a process: `node --import tsx bench/instant-worker.ts ENDPOINT NAME`. In the controller's
 * process: `connectInstant(transport, name)`.
 */
import { mkdirSync } from 'node:fs';
import { Dealer } from 'zeromq';
import { decode, encode, type Outgoing } from '../src/bridge/frames.ts';
import type { MemoryTransport } from '../src/bridge/memory-transport.ts';
import {
  type FromWorker,
  fromController,
  type MessageOf,
  PROTOCOL_VERSION,
} from '../src/bridge/messages.ts';
import { schemaHash } from '../src/bridge/schema.ts';
import { type Tensors, tensor } from '../src/bridge/tensor.ts';

/** Tokens of one actor response, of one critic prompt, of one critic completion. */
export const sizes = { response: 512, segments: 16, prompt: 700, completion: 200 };

/**
 * About 1,950 UTF-16 units in 16 lines of 32 tokens, with formulas and brackets as real ones have.
 */
const actorText = (n: number) =>
  Array.from(
    { length: sizes.segments },
    (_, k) =>
      `Step ${k + 1} of ${n}: from $x_{${k}} < ${n}$ we get (a + b)^2 >= 4ab, so case [${k}] of the ` +
      'claim holds, and the rest is left to check.',
  ).join('\n');

/** About 850 UTF-16 units and a score. */
const criticText = (n: number) =>
  `${`Response ${n} makes progress and shows no sign of confusion so far. `.repeat(12)}\n` +
  `<score>${(7 * n) % 11}</score>`;

/** Sequences of so many tokens; no two texts are alike, for equal ones would be cheaper. */
function sequences(texts: readonly string[], length: number) {
  const n = texts.length;
  const ids = new Int32Array(n * length).map((_, i) => i % length);
  const ends = new Int32Array(n * length);
  for (let i = 0; i < ends.length; i++)
    ends[i] = Math.ceil((((i % length) + 1) * texts[Math.floor(i / length)]!.length) / length);
  return {
    completion_ids: tensor(ids),
    completion_cu_seqlens: tensor(Int32Array.from({ length: n + 1 }, (_, i) => i * length)),
    logprobs: tensor(new Float32Array(n * length).fill(-0.5)),
    text_ends: tensor(ends),
  };
}

export class InstantWorker {
  readonly #steps = new Map<string, number>();
  readonly #accumulations = new Map<string, number>();
  readonly #name: string;
  readonly #say: (message: Outgoing<FromWorker>, tensors?: Tensors) => void;
  readonly #ready = new Map<string, Tensors>();
  /** Milliseconds spent here; not the controller's. */
  spent = 0;

  constructor(name: string, say: (message: Outgoing<FromWorker>, tensors?: Tensors) => void) {
    this.#name = name;
    this.#say = say;
  }

  hello(): void {
    const start = {
      start_id: `instant-${this.#name}`,
      protocol_min: PROTOCOL_VERSION,
      protocol_max: PROTOCOL_VERSION,
      schema_hash: schemaHash(),
    };
    this.#say({ type: 'hello', name: this.#name, ...start, pid: process.pid, host: 'here' });
    setInterval(
      () => this.#say({ type: 'heartbeat', sequence: 0, running: null, queued: 0 }),
      1000,
    ).unref();
  }

  receive(frames: Buffer[]): void {
    const began = performance.now();
    const { message, tensors: received } = decode(frames, fromController, {
      maxMessageBytes: 2 ** 32,
    });
    if (message.type === 'welcome') this.#say({ type: 'ready', versions: {}, devices: [] });
    else if (message.type === 'shutdown') this.#say({ type: 'bye', reason: 'shutdown' });
    else if (message.type === 'request') {
      const [result, tensors] = this.#answer(message, received);
      this.#say(
        {
          type: 'result',
          id: message.id,
          result: result as MessageOf<'result'>['result'],
          seconds: 0,
        },
        tensors,
      );
    }
    this.spent += performance.now() - began;
  }

  #answer(
    { operation, arguments: given }: MessageOf<'request'>,
    received: Tensors,
  ): [object, Tensors] {
    const model = String(given.model);
    const step = this.#steps.get(model) ?? 0;
    switch (operation) {
      case 'load_model': {
        this.#steps.set(model, 0);
        this.#accumulations.set(model, 0);
        const counts = {
          parameters: 1e9,
          trainable_parameters: 1e9,
          vocabulary_size: 5e4,
          eos_token_id: 0,
          context_length: null,
        };
        return [
          {
            ...counts,
            device: 'cpu',
            dtype: 'float32',
            has_chat_template: true,
            slow_because: null,
            sampling: 'together',
            reproducible: true,
            step: 0,
            version: 0,
          },
          {},
        ];
      }
      case 'tokenize':
        return this.#tokenized((given.prompts as unknown[]).length);
      case 'sample':
        return this.#sampled(
          (given.prompts as unknown[] | null)?.length ?? received.prefix_lengths!.data.length,
          Number(given.completions_per_prompt),
          step,
        );
      case 'accumulate': {
        const accumulations = (this.#accumulations.get(model) ?? 0) + 1;
        this.#accumulations.set(model, accumulations);
        return [{ accumulations, statistics: { loss: 0, tokens: 1, sequences: 1 } }, {}];
      }
      case 'step':
        this.#steps.set(model, step + 1);
        this.#accumulations.set(model, 0);
        return [{ step: step + 1, grad_norm: 1, update_norm: 1 }, {}];
      case 'publish':
        return [{ version: step, digest: '0'.repeat(16) }, {}];
      case 'save_model':
        mkdirSync(String(given.path), { recursive: true });
        return [{ bytes: 0, step }, {}];
      default:
        return [{}, {}];
    }
  }

  /** Made once for a size: making them is not what is measured. */
  #once(key: string, make: () => Tensors): Tensors {
    const made = this.#ready.get(key) ?? make();
    if (this.#ready.size > 64) this.#ready.clear();
    this.#ready.set(key, made);
    return made;
  }

  #tokenized(n: number): [object, Tensors] {
    const tensors = this.#once(`tokenize ${n}`, () => ({
      ids: tensor(new Int32Array(n * sizes.prompt)),
      cu_seqlens: tensor(Int32Array.from({ length: n + 1 }, (_, i) => i * sizes.prompt)),
      prompt_lengths: tensor(new Int32Array(n).fill(sizes.prompt)),
    }));
    return [{ tokens: n * sizes.prompt }, tensors];
  }

  #sampled(prompts: number, each: number, version: number): [object, Tensors] {
    const n = prompts * each;
    const isActor = this.#name === 'actor';
    const texts = Array.from({ length: n }, (_, i) => (isActor ? actorText(i) : criticText(i)));
    const tensors = this.#once(`sample ${prompts} ${each}`, () => ({
      prompt_ids: tensor(new Int32Array(prompts * sizes.prompt).fill(1)),
      prompt_cu_seqlens: tensor(
        Int32Array.from({ length: prompts + 1 }, (_, i) => i * sizes.prompt),
      ),
      ...sequences(texts, isActor ? sizes.response : sizes.completion),
    }));
    return [
      {
        texts,
        finish_reasons: texts.map(() => 'stop_token'),
        version,
        padding_tokens: 0,
        cached_tokens: 0,
      },
      tensors,
    ];
  }
}

/** In the same process, over the transport without sockets. */
export function connectInstant(transport: MemoryTransport, name: string): InstantWorker {
  const peer = transport.connect(`instant-${name}`, (frames) => worker.receive(frames));
  const worker = new InstantWorker(name, (message, tensors) => peer.send(encode(message, tensors)));
  worker.hello();
  return worker;
}

if (process.argv[1] === import.meta.filename) {
  const [endpoint, name] = process.argv.slice(2) as [string, string];
  const socket = new Dealer({
    routingId: `instant-${name}`,
    linger: 0,
    sendHighWaterMark: 0,
    receiveHighWaterMark: 0,
  });
  socket.connect(endpoint);
  let sends = Promise.resolve();
  const worker = new InstantWorker(name, (message, tensors) => {
    const frames = encode(message, tensors);
    sends = sends.then(() => socket.send(frames));
  });
  worker.hello();
  for await (const frames of socket) worker.receive(frames);
}
