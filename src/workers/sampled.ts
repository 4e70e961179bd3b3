/** What a worker sampled: sequences with views of the answer's tensors. */
import type { Result } from '../bridge/operations.ts';
import type { Tensors } from '../bridge/tensor.ts';
import type { Finished, Sampled } from '../language-model.ts';
import { Ragged } from './ragged.ts';

/**
 * The sequences of a whole answer.
 *
 * @param onlyIds log-probs and text ends are dropped
 * @throws Error where a tensor is missing or has another length than its offsets say
 */
export function answeredSequences(
  { texts, finish_reasons, version }: Result<'sample'>,
  tensors: Tensors,
  completionsPerPrompt: number,
  onlyIds: boolean,
): Sampled[] {
  const prompts = new Ragged(tensors, 'prompt_ids', 'prompt_cu_seqlens', Int32Array);
  const answer = { ...readSequences(tensors, onlyIds), prompts, completionsPerPrompt, version };
  return texts.map((text, i) => new AnsweredSequence(answer, i, text, finish_reasons[i]!));
}

function readSequences(tensors: Tensors, onlyIds = false) {
  const of = <A extends Int32Array | Float32Array>(
    name: string,
    type: abstract new (...args: never[]) => A,
  ) => new Ragged(tensors, name, 'completion_cu_seqlens', type);
  return {
    ids: of('completion_ids', Int32Array),
    logprobs: onlyIds ? null : of('logprobs', Float32Array),
    ends: onlyIds ? null : of('text_ends', Int32Array),
  };
}

/** Sequences of a part of an answer, which have no prompts. */
export function finishedSequences(
  tensors: Tensors,
  texts: readonly string[],
  reasons: readonly Sampled['finishReason'][],
): Finished[] {
  const { ids, logprobs, ends } = readSequences(tensors);
  return texts.map((text, i) => ({
    completionIds: ids.at(i),
    logprobs: logprobs!.at(i),
    textEnds: ends!.at(i),
    text,
    finishReason: reasons[i]!,
  }));
}

interface Answer extends ReturnType<typeof readSequences> {
  readonly prompts: Ragged<Int32Array>;
  readonly completionsPerPrompt: number;
  readonly version: number;
}

/**
 * A sequence of an answer. Its arrays are made when they are asked for: a critic needs only ids.
 */
class AnsweredSequence implements Sampled {
  readonly text: string;
  readonly finishReason: Sampled['finishReason'];
  readonly #answer: Answer;
  readonly #index: number;

  constructor(answer: Answer, index: number, text: string, finishReason: Sampled['finishReason']) {
    this.#answer = answer;
    this.#index = index;
    this.text = text;
    this.finishReason = finishReason;
  }

  get promptIds(): Int32Array {
    return this.#answer.prompts.at(Math.floor(this.#index / this.#answer.completionsPerPrompt));
  }
  get completionIds(): Int32Array {
    return this.#answer.ids.at(this.#index);
  }
  get logprobs(): Float32Array {
    return this.#answer.logprobs?.at(this.#index) ?? new Float32Array();
  }
  get textEnds(): Int32Array {
    return this.#answer.ends?.at(this.#index) ?? new Int32Array();
  }
  get version(): number {
    return this.#answer.version;
  }
}
