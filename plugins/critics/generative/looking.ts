/** Thinking that ends where the critic is sure: it is looked at every so many tokens. */
import type { LanguageModel, SampleRequest, Sequence } from '../../../src/plugin-api.ts';
import { goneOn, notDrawn, type Written } from './carrying.ts';

export interface Looking {
  readonly model: LanguageModel;
  /** `max_new_tokens`: of a whole thought; prompts and completions of each are those given. */
  readonly request: Omit<SampleRequest, 'prompts' | 'completionsPerPrompt' | 'seed'>;
  /** Tokens from one look to the next. */
  readonly every: number;
  /** A thought ends where the standard deviation of its score is at most this. */
  readonly within: number;
  /** Of thought number i, for the tokens up to number `to`. */
  readonly seed: (i: number, to: number) => readonly [number, number];
  /** Standard deviations of the score that each of these would end with now, in [0, 0.5]. */
  readonly spreads: (thoughts: readonly Written[]) => Promise<readonly number[]>;
}

/**
 * One thought for each beginning, which may have no tokens. Those that are not sure at the end of
 * their budget end there.
 *
 * @param texts of the beginnings
 */
export async function thinkUntilSure(
  { model, request, every, within, seed, spreads }: Looking,
  beginnings: readonly Sequence[],
  texts: readonly string[],
): Promise<Written[]> {
  const { max_new_tokens: most } = request;
  const thoughts = beginnings.map(
    (begun, i): Written => ({
      ...{ ...begun, text: texts[i]!, finishReason: 'length' },
      ...notDrawn(begun.completionIds.length),
    }),
  );
  const lengthOf = (i: number) => thoughts[i]!.completionIds.length;
  let open = [...thoughts.keys()];
  for (let to = 0; open.length > 0; to += every) {
    const limit = Math.min(to, most);
    const going = open.filter((i) => lengthOf(i) < limit);
    if (going.length > 0) {
      const sampled = await model.sample({
        ...{ ...request, max_new_tokens: limit, completionsPerPrompt: 1 },
        prompts: going.map((i) => thoughts[i]!),
        seed: (k) => seed(going[k]!, limit),
      });
      for (const [k, i] of going.entries()) thoughts[i] = goneOn(thoughts[i]!, sampled[k]!);
    }
    open = open.filter((i) => thoughts[i]!.finishReason === 'length' && lengthOf(i) < most);
    // Of those that were carried on, none is looked at before it has words of its own.
    const grown = new Set(going);
    const looked = open.filter((i) => grown.has(i));
    if (looked.length === 0) continue;
    const found = await spreads(looked.map((i) => thoughts[i]!));
    const sure = new Set(looked.filter((_, k) => found[k]! <= within));
    open = open.filter((i) => !sure.has(i));
  }
  return thoughts;
}
