/** Segmentation of a response of which only the text is known: no tokens, no probabilities. */
import { type Segmentation, segmentResponse, textBefore } from './segment.ts';

/** Characters that a token of `minimum_tokens` is taken for. */
const CHARACTERS_PER_TOKEN = 4;

/** Why this rule can't cut a text without its tokens; null: it can. */
export function needsTokens({ by }: Segmentation): string | null {
  if (by !== 'tokens' && by !== 'low-probability') return null;
  const what = by === 'tokens' ? 'tokens' : 'the probabilities of tokens';
  return `by: ${by} needs ${what}, which logged responses don't have: cut by line, sentence or pattern`;
}

/**
 * The partial responses before each segment, as `segmentResponse` would cut where each character is a token. The first is empty.
 *
 * @throws RangeError where the rule needs tokens
 */
export function prefixesOfText(text: string, options: Segmentation): string[] {
  const why = needsTokens(options);
  if (why) throw new RangeError(why);
  const ends: number[] = [];
  for (const character of text) ends.push((ends.at(-1) ?? 0) + character.length);
  if (ends.length === 0) return [''];
  const minimum = options.minimum_tokens === 1 ? 1 : CHARACTERS_PER_TOKEN * options.minimum_tokens;
  const response = { text, textEnds: Int32Array.from(ends), logprobs: new Float32Array() };
  const segments = segmentResponse(response, { ...options, minimum_tokens: minimum });
  return segments.map((segment) => textBefore(response, segment));
}
