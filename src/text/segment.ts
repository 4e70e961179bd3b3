/**
 * Segmentation: where a response is cut into the units of credit. Boundaries are token positions; every token belongs to exactly one segment.
 *
 * Whether a boundary stands before token t depends on the tokens before t alone. Otherwise the choice of the state whose value is subtracted for token t
 * would depend on token t itself, and the baseline would bias the policy gradient. So there is no thinning that looks at the whole response: a boundary
 * too close to the one before is dropped (`minimum_tokens`), and after `at_most` segments the rest of the response belongs to the last one.
 */
import { z } from 'zod';
import type { Segment } from '../types.ts';

const limits = {
  /** Segments of one response at the most: a bound on what the critic costs. */
  at_most: z.int().positive().default(16),
  /** Tokens of a segment at the least (the last one may be shorter). max_new_tokens / at_most spreads the segments over the longest responses. */
  minimum_tokens: z.int().positive().default(1),
};

export const segmentationSchema = z.discriminatedUnion('by', [
  /** After the line break that ends a line with something in it. */
  z.strictObject({ by: z.literal('line'), ...limits }),
  /** After the mark that ends a sentence (. ! ? ... with closing quotes, not a decimal point's digit before it) or a line. */
  z.strictObject({ by: z.literal('sentence'), ...limits }),
  /** Every `tokens` tokens. */
  z.strictObject({ by: z.literal('tokens'), tokens: z.int().positive().default(64), ...limits }),
  /** After every token that was sampled with a probability below `probability`: where the response took a turn. */
  z.strictObject({
    by: z.literal('low-probability'),
    probability: z.number().positive().max(1).default(0.2),
    ...limits,
  }),
  /** Where the text of the segment so far (its last 1000 UTF-16 units) ends with a match of a regular expression (flag `u`). */
  z.strictObject({
    by: z.literal('pattern'),
    pattern: z.string().min(1).refine(isPattern, 'not a regular expression'),
    ...limits,
  }),
]);

export type Segmentation = z.infer<typeof segmentationSchema>;

function isPattern(source: string): boolean {
  try {
    new RegExp(source, 'u');
    return true;
  } catch {
    return false;
  }
}

/** What segmentation needs of a trajectory. */
export interface Segmentable {
  readonly text: string;
  readonly textEnds: Int32Array;
  readonly logprobs: Float32Array;
}

/** How far back a user's pattern looks, in UTF-16 units: a pattern is tried at every token, and would otherwise read a long segment again and again. */
const PATTERN_REACH = 1000;

/** Does `text`, from `from` to `to`, end a line that has something in it? Looks at the last line alone. */
export function endsLine(text: string, from: number, to: number): boolean {
  if (to <= from || text[to - 1] !== '\n') return false;
  for (let i = to - 2; i >= from && text[i] !== '\n'; i--) if (!isSpace(text[i]!)) return true;
  return false;
}

/**
 * Does `text`, from `from` to `to`, end a sentence: marks (. ! ? ...), closing quotes or brackets, blanks; a single mark not after a digit or a blank, as in
 * `3.5`? Looks at what the sentence ends with alone.
 */
export function endsSentence(text: string, from: number, to: number): boolean {
  let i = to;
  while (i > from && isSpace(text[i - 1]!)) i--;
  while (i > from && closers.has(text[i - 1]!)) i--;
  const marksEnd = i;
  while (i > from && marks.has(text[i - 1]!)) i--;
  const count = marksEnd - i;
  if (count === 0) return false;
  return count > 1 || i === from || !(isSpace(text[i - 1]!) || isDigit(text[i - 1]!));
}

const marks = new Set(['.', '!', '?', '\u2026']);
const closers = new Set(['"', "'", '\u201d', '\u2019', ')', ']']);
const isSpace = (unit: string) => /\s/u.test(unit);
const isDigit = (unit: string) => unit >= '0' && unit <= '9';

/**
 * @returns at least one segment (for a response of at least one token), in order, covering all tokens; the first begins at token 0
 */
export function segmentResponse(response: Segmentable, options: Segmentation): Segment[] {
  const length = response.textEnds.length;
  if (length === 0) return [];
  const endsSegment = boundaryRule(response, options);
  const starts = [0];
  for (let t = 1; t < length && starts.length < options.at_most; t++) {
    const start = starts.at(-1)!;
    if (t - start >= options.minimum_tokens && endsSegment(start, t)) starts.push(t);
  }
  return starts.map((start, i) => ({ start, end: starts[i + 1] ?? length }));
}

/** The text before a segment: what the critic sees as the partial response. */
export function textBefore(
  response: { readonly text: string; readonly textEnds: Int32Array },
  segment: Segment,
): string {
  return response.text.slice(0, textStart(response.textEnds, segment.start));
}

const textStart = (textEnds: Int32Array, token: number) => (token === 0 ? 0 : textEnds[token - 1]!);

/** Does the segment that began at token `start` end before token `t`? Reads tokens before t alone. */
function boundaryRule(response: Segmentable, options: Segmentation): (start: number, t: number) => boolean {
  const { text, textEnds, logprobs } = response;
  const ends = (rule: (text: string, from: number, to: number) => boolean) => (start: number, t: number) =>
    rule(text, textStart(textEnds, start), textEnds[t - 1]!);
  switch (options.by) {
    case 'tokens':
      return (start, t) => t - start >= options.tokens;
    case 'low-probability': {
      const limit = Math.log(options.probability);
      return (_, t) => logprobs[t - 1]! < limit;
    }
    case 'line':
      return ends(endsLine);
    case 'sentence':
      return ends((...at) => endsSentence(...at) || endsLine(...at));
    case 'pattern': {
      const pattern = new RegExp(`(?:${options.pattern})$`, 'u');
      return ends((all, from, to) => pattern.test(all.slice(Math.max(from, to - PATTERN_REACH), to)));
    }
  }
}
