/**
 * Token ids of prompts, made once for each problem: states have them before anything is sampled.
 */
import type { LanguageModel } from '../language-model.ts';
import type { Problem } from '../types.ts';

const known = new WeakMap<LanguageModel, WeakMap<Problem, Int32Array>>();

/** Ids of each problem's prompt, as `model` reads it. */
export async function promptIdsOf(
  model: LanguageModel,
  problems: readonly Problem[],
): Promise<Int32Array[]> {
  const ids = known.get(model) ?? new WeakMap<Problem, Int32Array>();
  known.set(model, ids);
  const missing = problems.filter((problem) => !ids.has(problem));
  if (missing.length > 0) {
    const prompts = missing.map(({ prompt }) => prompt);
    const none = missing.map(() => '');
    const sequences = await model.tokenize(prompts, none);
    for (const [i, { promptIds }] of sequences.entries()) ids.set(missing[i]!, promptIds);
  }
  return problems.map((problem) => ids.get(problem)!);
}
