/**
 * A model in a worker, as the algorithm uses it: sequences in and out, packed to tensors and back.
 */
import type { LoadingOptions } from '../bridge/model-options.ts';
import type { Arguments, Prompt, Result } from '../bridge/operations.ts';
import { type Tensor, type Tensors, tensor } from '../bridge/tensor.ts';
import type { RequestOptions, Worker } from '../bridge/worker.ts';
import { mapInParts, type Sliceable } from '../event-loop.ts';
import {
  type LanguageModel,
  promptsOfRequest,
  type Sampled,
  type SamplePrompts,
  type SampleRequest,
  SEQUENCES_PER_REQUEST,
  type StreamValues,
} from '../language-model.ts';
import { sequenceSeeds } from '../math/random.ts';
import type { Sequence } from '../types.ts';
import { UserError } from '../user-error.ts';
import { plainLoading } from './loading.ts';
import { align, offsetsOf, pack, Scratch, split } from './ragged.ts';
import { answeredSequences, finishedSequences } from './sampled.ts';

export type LoadOptions = Omit<
  Arguments<'load_model'>,
  'model' | 'loading' | 'bounded' | 'bins'
> & {
  /** Of a value model. Default: false. */
  readonly bounded?: boolean;
  /** Of a value model. Default: null, one number. */
  readonly bins?: number | null;
  /** Default: as its folder says. */
  readonly loading?: LoadingOptions;
};

export class WorkerModel implements LanguageModel {
  readonly worker: Worker;
  readonly name: string;
  readonly loaded: Result<'load_model'>;
  readonly #eps: number;
  #step: number;
  #accumulations = 0;
  #onPlainChat: (() => void) | null;

  private constructor(
    worker: Worker,
    name: string,
    loaded: Result<'load_model'>,
    eps: number,
    onPlainChat: (() => void) | null,
  ) {
    this.worker = worker;
    this.#eps = eps;
    this.name = name;
    this.loaded = loaded;
    this.#step = loaded.step;
    this.#onPlainChat = loaded.has_chat_template ? null : onPlainChat;
  }

  /**
   * @param onPlainChat called once, when a chat is first given to a model without a chat template:
   * it reads the chat as plain text
   */
  static async load(
    worker: Worker,
    name: string,
    options: LoadOptions,
    onPlainChat: (() => void) | null = null,
  ): Promise<WorkerModel> {
    const asked = { model: name, loading: plainLoading, bounded: false, bins: null, ...options };
    const { result } = await worker.request('load_model', asked);
    return new WorkerModel(worker, name, result, options.optimizer?.eps ?? 0, onPlainChat);
  }

  #tellOfPlainChat(prompts: SamplePrompts): void {
    if (!this.#onPlainChat || !prompts.some((prompt) => Array.isArray(prompt))) return;
    this.#onPlainChat();
    this.#onPlainChat = null;
  }

  get step(): number {
    return this.#step;
  }

  /**
   * In requests of at most 256 sequences, two of them at a time: so that neither a message nor the
   * work on one grows with the batch.
   */
  async sample(request: SampleRequest, options: RequestOptions = {}): Promise<Sampled[]> {
    const { prompts, completionsPerPrompt: each, seed, onFinished, ...rest } = request;
    this.#tellOfPlainChat(prompts);
    return mapInParts<Prompt | Sequence, Sampled>(prompts, promptsOfRequest(each), (some, from) =>
      this.#sample(
        {
          ...rest,
          prompts: some as SamplePrompts,
          completionsPerPrompt: each,
          seed: (i) => seed(from * each + i),
          ...(onFinished && { onFinished: (i, sampled) => onFinished(from * each + i, sampled) }),
        },
        options,
      ),
    );
  }

  async #sample(request: SampleRequest, options: RequestOptions): Promise<Sampled[]> {
    const { prompts, literal = false, onlyIds = false, completionsPerPrompt, ...rest } = request;
    const { seed, onFinished, ...sampling } = rest;
    const sequences = prompts.length * completionsPerPrompt;
    const prefixes = areSequences(prompts) ? prompts : null;
    const told = new Set<number>();
    const { result, tensors } = await this.worker.request(
      'sample',
      {
        model: this.name,
        prompts: prefixes ? null : ([...prompts] as Arguments<'sample'>['prompts']),
        literal,
        completions_per_prompt: completionsPerPrompt,
        ...sampling,
        stop_token_ids: [],
        batch_size: null,
        stream: onFinished !== undefined,
      },
      {
        ...options,
        tensors: {
          seeds: tensor(sequenceSeeds(sequences, seed), [sequences, 2]),
          ...(prefixes && packPrefixes(prefixes)),
        },
        ...(onFinished && {
          onPartial: ({ data, tensors: part }) => {
            const { indices, texts, finish_reasons } = data as unknown as PartialSample;
            const unpacked = finishedSequences(part, texts, finish_reasons);
            indices.forEach((sequence, i) => {
              told.add(sequence);
              onFinished(sequence, unpacked[i]!);
            });
          },
        }),
      },
    );
    const answered = answeredSequences(result, tensors, completionsPerPrompt, onlyIds);
    // A part can be lost with a connection. The answer has them all.
    for (const [i, one] of answered.entries()) if (!told.has(i)) onFinished?.(i, one);
    return answered;
  }

  /**
   * Token ids of texts that no model wrote. `literal`: other people's text, which makes no control
   * token.
   */
  async tokenize(
    prompts: readonly Prompt[],
    completions: readonly string[],
    appendEos = false,
    literal = false,
  ): Promise<Sequence[]> {
    this.#tellOfPlainChat(prompts);
    return mapInParts(prompts, SEQUENCES_PER_REQUEST, async (some, from) => {
      const { tensors } = await this.worker.request('tokenize', {
        model: this.name,
        prompts: some as Arguments<'tokenize'>['prompts'],
        completions: completions.slice(from, from + some.length),
        append_eos: appendEos,
        literal,
      });
      const lengths = tensors.prompt_lengths!.data as Int32Array;
      return split(tensors, 'ids', 'cu_seqlens', Int32Array).map((ids, i) => ({
        promptIds: ids.subarray(0, lengths[i]!),
        completionIds: ids.subarray(lengths[i]!),
      }));
    });
  }

  async logprobs(sequences: readonly Sequence[], temperature = 1): Promise<Float32Array[]> {
    return mapInParts(sequences, SCORED, async (some) => {
      const packed = pack(some);
      const { tensors } = await this.worker.request(
        'score',
        { model: this.name, temperature, entropy: false, micro_batch_tokens: null },
        { tensors: packed },
      );
      const all = { ...tensors, cu_seqlens: packed.cu_seqlens! };
      return split(all, 'logprobs', 'cu_seqlens', Float32Array).map((own, i) =>
        own.subarray(some[i]!.promptIds.length),
      );
    });
  }

  async choices(
    sequences: readonly Sequence[],
    answers: readonly (readonly number[])[],
    temperature = 1,
  ): Promise<Float32Array[]> {
    const choices = answers.map((answer) => [...answer]);
    return mapInParts(sequences, SCORED, async (some) => {
      const { tensors } = await this.worker.request(
        'choices',
        { model: this.name, choices, temperature, micro_batch_tokens: null },
        { tensors: pack(some) },
      );
      const all = tensors.logprobs!.data as Float32Array;
      return some.map((_, i) => all.subarray(i * answers.length, (i + 1) * answers.length));
    });
  }

  async values(sequences: readonly Sequence[]): Promise<Float32Array[]> {
    return mapInParts(sequences, SCORED, async (some) => {
      // The worker answers with the value before each token. It never reads the last one of a
      // sequence, so one more token asks for the value after the response.
      const packed = pack(some.map(withOneMore));
      const { tensors } = await this.worker.request(
        'score',
        { model: this.name, temperature: 1, entropy: false, micro_batch_tokens: null },
        { tensors: packed },
      );
      const all = { ...tensors, cu_seqlens: packed.cu_seqlens! };
      return split(all, 'values', 'cu_seqlens', Float32Array).map((own, i) =>
        own.subarray(some[i]!.promptIds.length),
      );
    });
  }

  /**
   * Adds the streams' gradient.
   * @param masks for each sequence which tokens of the completion count; null: all
   * @param normalizer what the sum is divided by
   * @returns the worker's statistics: sums over tokens
   */
  async accumulate(
    sequences: Sliceable<Sequence>,
    masks: readonly (ArrayLike<number> | null)[] | null,
    streams: readonly StreamValues[],
    normalizer: number,
    temperature = 1,
  ): Promise<Record<string, number>> {
    const statistics: Record<string, number> = {};
    const free: Scratch[] = [];
    const parts = await mapInParts(sequences, SEQUENCES_PER_REQUEST, async (some, from) => {
      const to = from + some.length;
      const own = streams.map(({ stream, tensors }) => ({
        stream,
        tensors: sliced(tensors, from, to),
      }));
      const scratch = free.pop() ?? new Scratch();
      const tensors = tensorsOf(some, masks?.slice(from, to) ?? null, own, scratch);
      const { result } = await this.worker.request(
        'accumulate',
        {
          model: this.name,
          streams: streams.map(({ stream }) => stream),
          normalizer,
          temperature,
          micro_batch_tokens: null,
        },
        { tensors },
      );
      free.push(scratch);
      this.#accumulations = result.accumulations;
      return [result.statistics];
    });
    // All of them are sums, the loss (already divided) too.
    for (const part of parts)
      for (const [name, value] of Object.entries(part))
        statistics[name] = (statistics[name] ?? 0) + value;
    return statistics;
  }

  /**
   * One optimizer step. Throws if the weights did not move although they could have: a gradient
   * smaller than the optimizer's `eps` may leave them where they are.
   */
  async optimize(learningRate: number, maxGradNorm: number | null): Promise<Result<'step'>> {
    const { result } = await this.worker.request('step', {
      model: this.name,
      expected_step: this.#step,
      expected_accumulations: this.#accumulations,
      learning_rate: learningRate,
      max_grad_norm: maxGradNorm,
    });
    this.#step = result.step;
    this.#accumulations = 0;
    if (result.grad_norm > this.#eps && learningRate > 0 && !(result.update_norm > 0)) {
      throw new UserError(
        `model "${this.name}": step ${result.step} had a gradient of norm ${result.grad_norm} and a learning rate of ${learningRate}, but no weight moved; ` +
          'raise the learning rate, or check that the right weights are trainable',
      );
    }
    return result;
  }

  /** Serves the current weights; throws if the served version is not the trained one. */
  async publish(): Promise<Result<'publish'>> {
    const { result } = await this.worker.request('publish', { model: this.name });
    if (result.version !== this.#step) {
      throw new Error(
        `model "${this.name}": version ${result.version} is served, but ${this.#step} was trained`,
      );
    }
    return result;
  }

  async save(path: string, optimizer: boolean): Promise<void> {
    await this.worker.request('save_model', { model: this.name, path, optimizer });
  }

  async restore(path: string): Promise<void> {
    const { result } = await this.worker.request('restore_model', { model: this.name, path });
    this.#step = result.step;
    this.#accumulations = 0;
  }
}

const areSequences = (prompts: SamplePrompts): prompts is readonly Sequence[] =>
  typeof prompts[0] === 'object' && 'promptIds' in prompts[0];

const withOneMore = ({ promptIds, completionIds }: Sequence): Sequence => {
  const longer = new Int32Array(completionIds.length + 1);
  longer.set(completionIds);
  return { promptIds, completionIds: longer };
};

function packPrefixes(prefixes: readonly Sequence[]): Tensors {
  const { ids, cu_seqlens } = pack(prefixes);
  const lengths = Int32Array.from(prefixes, ({ completionIds }) => completionIds.length);
  return { prompt_ids: ids!, prompt_cu_seqlens: cu_seqlens!, prefix_lengths: tensor(lengths) };
}

/**
 * Of one request to score: the last digits of its answer depend on what else was in it, so batches
 * of a usual size are not parted.
 */
const SCORED = 8192;

const sliced = (
  tensors: StreamValues['tensors'],
  from: number,
  to: number,
): StreamValues['tensors'] =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, values]) => [name, values.slice(from, to)]),
  );

function tensorsOf(
  sequences: readonly Sequence[],
  masks: readonly (ArrayLike<number> | null)[] | null,
  streams: readonly StreamValues[],
  scratch: Scratch,
): Tensors {
  const offsets = offsetsOf(sequences);
  const alignedAs = (name: string, values: readonly (ArrayLike<number> | number)[]) =>
    tensor(align(scratch.float32(name, offsets.cu.at(-1)!), offsets, values));
  const mask = alignedAs(
    'mask',
    sequences.map((_, i) => masks?.[i] ?? 1),
  );
  const tensors: Record<string, Tensor> = { ...pack(sequences, offsets, scratch), mask };
  for (const { stream, tensors: values } of streams)
    for (const [name, perSequence] of Object.entries(values))
      tensors[`${stream.kind}.${name}`] = alignedAs(`${stream.kind}.${name}`, perSequence);
  return tensors;
}

interface PartialSample {
  indices: number[];
  texts: string[];
  finish_reasons: Sampled['finishReason'][];
}
