/**
 * A language model as the algorithm and the critics use it: sequences of token ids in and out. The
 * weights are elsewhere: in a worker (`workers/worker-model.ts`), or in a test's memory.
 */
import type { Arguments, LossStream, Prompt, Result } from './bridge/operations.ts';
import type { RequestOptions } from './bridge/worker.ts';
import type { Sliceable } from './event-loop.ts';
import type { Seed } from './math/random.ts';
import type { Sequence } from './types.ts';

export type { Sequence };

export type SampleOptions = Pick<
  Arguments<'sample'>,
  'max_new_tokens' | 'temperature' | 'top_p' | 'top_k' | 'stop_strings'
>;

/**
 * Prompts as text or chats; or token ids of prompts and of responses to continue. In the second
 * case `text` of what is sampled holds the whole response, `completionIds` and `logprobs` its new
 * tokens, and `max_new_tokens` counts the whole response.
 */
export type SamplePrompts = readonly Prompt[] | readonly Sequence[];

export interface SampleRequest extends SampleOptions {
  readonly prompts: SamplePrompts;
  /** The prompts hold other people's text, which makes no control token. Default: false. */
  readonly literal?: boolean;
  /** The caller reads token ids and text alone: `logprobs` and `textEnds` are empty. */
  readonly onlyIds?: boolean;
  readonly completionsPerPrompt: number;
  /** Of sequence i, which belongs to prompt floor(i / completionsPerPrompt). */
  readonly seed: (sequence: number) => Seed;
  /** Called as soon as a sequence is finished, in any order. */
  readonly onFinished?: (sequence: number, sampled: Finished) => void;
}

/** A completion. Arrays have one entry for each of its tokens, end-of-sequence token included. */
export interface Sampled extends Sequence {
  /** Of the distribution at the request's temperature, in nats. */
  readonly logprobs: Float32Array;
  /** UTF-16 units of `text` that are complete after each token. */
  readonly textEnds: Int32Array;
  readonly text: string;
  readonly finishReason: 'stop_token' | 'stop_string' | 'length';
  /** Optimizer steps in the weights that served it. */
  readonly version: number;
}

/** A completion while the others of its request are still sampled. */
export type Finished = Omit<Sampled, 'promptIds' | 'version'>;

/**
 * A term of the loss, and its values for each sequence: one for each token of the completion, or
 * one number for all of them.
 */
export interface StreamValues {
  readonly stream: LossStream;
  readonly tensors: Readonly<Record<string, readonly (ArrayLike<number> | number)[]>>;
}

/** What is known of a model once it is loaded. */
export interface ModelFacts {
  readonly name: string;
  readonly loaded: Result<'load_model'>;
  /** Optimizer steps taken. */
  readonly step: number;
  /**
   * Token ids of texts that no model wrote: of each prompt, and of the completion behind it.
   *
   * @param appendEos ends each completion with the end-of-sequence token. Default: false
   * @param literal other people's text, which makes no control token. Default: false
   */
  tokenize(
    prompts: readonly Prompt[],
    completions: readonly string[],
    appendEos?: boolean,
    literal?: boolean,
  ): Promise<Sequence[]>;
}

export interface Sampler extends ModelFacts {
  /**
   * Completions from the published weights. A sequence depends on its prompt, its seed and the
   * weights alone.
   */
  sample(request: SampleRequest, options?: RequestOptions): Promise<Sampled[]>;
}

export interface Learner extends ModelFacts {
  /** Log-probability in nats of each token of each completion under the current weights. */
  logprobs(sequences: readonly Sequence[], temperature?: number): Promise<Float32Array[]>;
  /**
   * Log-probability in nats, under the current weights, that each sequence goes on with each of a
   * few short answers, given by their token ids. One that begins another ("1" and "10") has the
   * probability that the other's next token does not follow.
   *
   * @returns one entry for each answer
   */
  choices(
    sequences: readonly Sequence[],
    answers: readonly (readonly number[])[],
    temperature?: number,
  ): Promise<Float32Array[]>;
  /**
   * Of a value model: its numbers before each token of each completion, and after the last one
   * (completion length + 1 entries; the first is the value of the prompt alone).
   */
  values(sequences: readonly Sequence[]): Promise<Float32Array[]>;
  /**
   * Adds the gradient of the sum of the streams, divided by `normalizer`.
   *
   * @param masks which tokens of each completion count; null: all
   * @returns the worker's statistics: sums over tokens
   */
  accumulate(
    sequences: Sliceable<Sequence>,
    masks: readonly (ArrayLike<number> | null)[] | null,
    streams: readonly StreamValues[],
    normalizer: number,
    temperature?: number,
  ): Promise<Record<string, number>>;
  /**
   * One optimizer step with the gradient, which is cleared. @throws UserError if no weight moved
   */
  optimize(learningRate: number, maxGradNorm: number | null): Promise<Result<'step'>>;
  /** `sample` serves the current weights from now on. */
  publish(): Promise<Result<'publish'>>;
  /** Writes a folder in Hugging Face format; with `optimizer` all that `restore` needs. */
  save(path: string, optimizer: boolean): Promise<void>;
  /** Weights, optimizer and step of a folder that `save` wrote with `optimizer`. */
  restore(path: string): Promise<void>;
}

export interface LanguageModel extends Sampler, Learner {}

/**
 * Sequences of one request at the most: enough to fill a GPU, few enough to pack in milliseconds.
 */
export const SEQUENCES_PER_REQUEST = 256;

/** Prompts of one request, with so many completions of each. */
export const promptsOfRequest = (completions: number): number =>
  Math.max(1, Math.floor(SEQUENCES_PER_REQUEST / completions));
