/**
 * Thoughts that are carried on: what a critic thinks about a state begins with what it thought
 * about the state before it, so that it writes only what is new.
 */
import type {
  CriticFormat,
  LanguageModel,
  Prompt,
  Sampled,
  SampleRequest,
  State,
  Valuation,
} from '../../../src/plugin-api.ts';

/** A completion of which the first `carried` tokens were put in the critic's mouth. */
export type Written = Omit<Sampled, 'textEnds' | 'version'> & { readonly carried?: number };

/** What was thought about the states of a batch, as far as it is carried on. */
export class Thoughts {
  readonly #until: string;
  readonly #score: CriticFormat['score'];
  /** By response, in the order of the states; of a group's first state by its group. */
  readonly #ofResponse = new Map<number, { index: number; texts: readonly string[] }[]>();
  readonly #ofGroup = new Map<number, readonly string[]>();

  /** @param until a thought is carried on up to the last place where it has this text */
  constructor(until: string, { score }: Pick<CriticFormat, 'score'>) {
    this.#until = until;
    this.#score = score;
  }

  remember(state: State, { completions }: Valuation): void {
    const texts = completions.map(({ text, score }) => (score === null ? '' : this.#cut(text)));
    const { trajectory, group, index } = state;
    if (trajectory === null) {
      this.#ofGroup.set(group, texts);
      return;
    }
    const own = this.#ofResponse.get(trajectory);
    if (own) own.push({ index, texts });
    else this.#ofResponse.set(trajectory, [{ index, texts }]);
  }

  /**
   * What was thought about the nearest state before this one, one text for each completion; ''
   * where nothing was. null: no state before it was asked about.
   */
  before({ trajectory, group, index }: State): readonly string[] | null {
    if (trajectory === null) return null;
    let nearest = -1;
    let texts = this.#ofGroup.get(group) ?? null;
    for (const one of this.#ofResponse.get(trajectory) ?? [])
      if (one.index < index && one.index > nearest) {
        nearest = one.index;
        texts = one.texts;
      }
    return texts;
  }

  /** @param text with a valid score, which is no part of the thought */
  #cut(text: string): string {
    const { open, close } = this.#score;
    const end = text.lastIndexOf(open, text.lastIndexOf(close) - open.length);
    const thought = text.slice(0, end);
    return thought.slice(0, Math.max(0, thought.lastIndexOf(this.#until))).trimEnd();
  }
}

/**
 * `count` completions of each prompt, prompt by prompt; number i goes on from `carried[i]` where
 * that is not empty.
 */
export async function sampleFrom(
  model: LanguageModel,
  { prompts, completionsPerPrompt: count, seed, ...request }: SampleRequest,
  carried: readonly string[],
): Promise<Written[]> {
  const begun = [...carried.keys()].filter((i) => carried[i] !== '');
  const promptOf = (i: number) => (prompts as readonly Prompt[])[Math.floor(i / count)]!;
  const sequences = await model.tokenize(
    begun.map(promptOf),
    begun.map((i) => carried[i]!),
    false,
    request.literal ?? false,
  );
  const fits = [...begun.keys()].filter(
    (k) => sequences[k]!.completionIds.length < request.max_new_tokens,
  );
  const going = new Set(fits.map((k) => begun[k]!));
  const afresh = [...carried.keys()].filter((i) => !going.has(i));
  const [whole, gone] = await Promise.all([
    afresh.length === 0
      ? []
      : model.sample({
          ...{ ...request, prompts: afresh.map(promptOf), completionsPerPrompt: 1 },
          seed: (k) => seed(afresh[k]!),
        }),
    fits.length === 0
      ? []
      : model.sample({
          ...{ ...request, prompts: fits.map((k) => sequences[k]!), completionsPerPrompt: 1 },
          seed: (k) => seed(begun[fits[k]!]!),
        }),
  ]);
  const written: Written[] = [];
  for (const [k, i] of afresh.entries()) written[i] = whole[k]!;
  for (const [k, at] of fits.entries()) {
    const { promptIds, completionIds: before } = sequences[at]!;
    const begin = { ...notDrawn(before.length), promptIds, completionIds: before };
    written[begun[at]!] = goneOn(begin, gone[k]!);
  }
  return written;
}

/** Log-probabilities of tokens that no engine drew. */
export const notDrawn = (carried: number) => ({
  carried,
  logprobs: new Float32Array(carried).fill(Number.NaN),
});

/** What was written so far, and what was sampled behind it. */
export function goneOn(
  before: Pick<Written, 'promptIds' | 'completionIds' | 'logprobs' | 'carried'>,
  { completionIds, logprobs, text, finishReason }: Omit<Written, 'promptIds'>,
): Written {
  const isKept = logprobs.length === completionIds.length;
  return {
    ...{ ...before, text, finishReason },
    completionIds: Int32Array.of(...before.completionIds, ...completionIds),
    logprobs: isKept ? Float32Array.of(...before.logprobs, ...logprobs) : new Float32Array(),
  };
}

/** 1 for each token that the critic drew, 0 for those that were carried on. */
export const maskOf = (length: number, carried: number): Uint8Array =>
  new Uint8Array(length).fill(1, carried);
