/**
 * Which prompts a language model can be asked: those that fit its context, and those that its
 * tokenizer can read.
 */

import {
  BridgeError,
  ConfigError,
  type LanguageModel,
  type Prompt,
  promptText,
} from '../../../src/plugin-api.ts';

/** Checks the context before the first request. @throws ConfigError */
export function refuseShortContext({ loaded }: LanguageModel, maxNewTokens: number): void {
  const { context_length: context } = loaded;
  if (context === null || maxNewTokens < context) return;
  throw new ConfigError([
    `critic.max_new_tokens: ${maxNewTokens} leaves no room for a prompt in the critic's ` +
      `context of ${context} tokens; lower it (in TRL: critic_max_new_tokens), or take a ` +
      'critic with a longer context',
  ]);
}

/** Collects the worker's refusals over several lists of items. */
export class Refusals {
  #first: unknown = null;
  #answered = false;

  note(refusal: unknown): void {
    this.#first ??= refusal;
  }

  answered(): void {
    this.#answered = true;
  }

  /** @throws what the worker said first, where it refused all */
  throwIfAll(): void {
    if (this.#first !== null && !this.#answered) throw this.#first;
  }
}

/**
 * Answers for items of which the worker may refuse some (a prompt that its chat template can't
 * render, for instance): the others are asked without them. Draws depend on the item, so that
 * halving changes nothing.
 *
 * @returns null for each that was refused
 */
export async function eachReadable<T, R>(
  items: readonly T[],
  refusals: Refusals,
  ask: (some: readonly T[]) => Promise<readonly R[]>,
): Promise<readonly (R | null)[]> {
  if (items.length === 0) return [];
  try {
    const answers = await ask(items);
    refusals.answered();
    return answers;
  } catch (error) {
    if (!(error instanceof BridgeError) || error.code !== 'bad_arguments') throw error;
    refusals.note(error);
    if (items.length === 1) return [null];
    const half = items.length >> 1;
    return [
      ...(await eachReadable(items.slice(0, half), refusals, ask)),
      ...(await eachReadable(items.slice(half), refusals, ask)),
    ];
  }
}

/**
 * More tokens than a chat template writes around messages, and than a tokenizer writes around text.
 */
const around = (prompt: Prompt) => (typeof prompt === 'string' ? 8 : 1024);

/** For each prompt: does the context have room for it and for what the critic may write? */
export async function whichFit(
  model: LanguageModel,
  prompts: readonly Prompt[],
  maxNewTokens: number,
): Promise<readonly boolean[]> {
  const { context_length: context } = model.loaded;
  const all = prompts.map(() => true);
  if (context === null) return all;
  const room = context - maxNewTokens;
  // No token is shorter than a byte, so most prompts are known to fit before they are tokenized.
  const sureToFit = (p: Prompt) => Buffer.byteLength(promptText(p)) + around(p) <= room;
  if (prompts.every(sureToFit)) return all;
  try {
    const sequences = await model.tokenize(
      prompts,
      prompts.map(() => ''),
      false,
      true,
    );
    return sequences.map(({ promptIds }) => promptIds.length <= room);
  } catch (error) {
    // Which of them can't be read, `eachReadable` finds out.
    if (error instanceof BridgeError && error.code === 'bad_arguments') return all;
    throw error;
  }
}
