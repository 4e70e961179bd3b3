/** Cuts a response that is known as text only, without tokens and probabilities. */
import { KIND, kindOf } from './characters.ts';
import { type Segmentation, segmentResponse, textBefore, textStarts } from './segment.ts';

const { UNCASED } = KIND;

/**
 * Characters that count as one token. In scripts without capitals, such as Chinese, each character
 * is a token.
 */
const CHARACTERS_PER_TOKEN = 4;

/** Returns why this rule can't cut a text without tokens; null: it can. */
export function needsTokens({ by }: Segmentation): string | null {
  if (by !== 'tokens' && by !== 'low-probability') return null;
  const what = by === 'tokens' ? 'tokens' : 'the probabilities of tokens';
  return (
    `by: ${by} needs ${what}, which logged responses don't have: cut by line, sentence or ` +
    'pattern'
  );
}

/**
 * Returns the partial responses before each segment, as `segmentResponse` would cut them with a
 * token for each character. The first is empty. Each ends at the end of a line or a sentence, and
 * the cuts are spread over the whole text. Causality is not needed, because no token is trained by
 * these values.
 *
 * @throws RangeError if the rule needs tokens
 */
export function prefixesOfText(text: string, options: Segmentation): string[] {
  const why = needsTokens(options);
  if (why) throw new RangeError(why);
  const textEnds = endsOfCharacters(text);
  if (textEnds.length === 0) return [''];
  const response = { text, textEnds, logprobs: null };
  if (options.by === 'line' || options.by === 'sentence') {
    const before = tokensBefore(text, textEnds);
    const min_tokens = options.min_tokens === 1 ? 0 : options.min_tokens;
    const rule = { ...options, min_tokens, budget: before.at(-1)! };
    const starts = textStarts(response, options.by, rule, (t) => before[t]!);
    return starts.map(({ textEnd }) => text.slice(0, textEnd));
  }
  const minimum = options.min_tokens === 1 ? 1 : CHARACTERS_PER_TOKEN * options.min_tokens;
  const segments = segmentResponse(response, { ...options, min_tokens: minimum });
  return segments.map((segment) => textBefore(response, segment));
}

/** Returns the UTF-16 units before the end of each character. */
function endsOfCharacters(text: string): Int32Array {
  const ends = new Int32Array(text.length);
  let count = 0;
  for (let at = 0; at < text.length; ) {
    at += text.codePointAt(at)! > 0xffff ? 2 : 1;
    ends[count++] = at;
  }
  return ends.subarray(0, count);
}

function tokensBefore(text: string, textEnds: Int32Array): Float64Array {
  const before = new Float64Array(textEnds.length + 1);
  for (let t = 0, at = 0; t < textEnds.length; at = textEnds[t]!, t++) {
    const tokens = kindOf(text.codePointAt(at)!) & UNCASED ? 1 : 1 / CHARACTERS_PER_TOKEN;
    before[t + 1] = before[t]! + tokens;
  }
  return before;
}
