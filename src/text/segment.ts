/**
 * Segmentation cuts a response into the units of credit. Boundaries are token positions; every
 * token belongs to exactly one segment.
 *
 * Whether there is a boundary before token t depends on the tokens before t alone. Otherwise the
 * choice of the state whose value is subtracted for token t would depend on token t itself, and the
 * baseline would bias the policy gradient. So no rule looks at the whole response, and the end of a
 * sentence is known only with the first word of the next: the segment begins after this word.
 *
 * By line and by sentence, the cuts are spread over the token budget (`share.ts`): short lines and
 * sentences are joined, and long ones are cut between clauses or words.
 */
import { z } from 'zod';
import type { Segment } from '../types.ts';
import { Boundaries } from './boundaries.ts';
import { type Share, type StagePosition, shareOf } from './share.ts';

const limits = {
  /** Largest number of segments of a response, which limits what the critic costs. */
  max_segments: z.int().positive().default(16),
  /** Smallest number of tokens of a segment (the last one may be shorter). */
  min_tokens: z.int().positive().default(1),
};

export const segmentationSchema = z.discriminatedUnion('by', [
  /** Between a line that is not blank and the next. */
  z.strictObject({ by: z.literal('line'), ...limits }),
  /** Between sentences, by the marks of any writing system, and between lines. */
  z.strictObject({ by: z.literal('sentence'), ...limits }),
  /** Every `tokens` tokens. */
  z.strictObject({ by: z.literal('tokens'), tokens: z.int().positive().default(64), ...limits }),
  /**
   * After every token that was sampled with a probability below `probability`, where the response
   * took a turn.
   */
  z.strictObject({
    by: z.literal('low-probability'),
    probability: z.number().positive().max(1).default(0.2),
    ...limits,
  }),
  /**
   * Where the text of the segment so far (its last 1000 UTF-16 units) ends with a match of a
   * regular expression (flag `u`).
   */
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

/** The part of a trajectory that segmentation reads. */
export interface Segmentable {
  readonly text: string;
  readonly textEnds: Int32Array;
  /** null: not known. */
  readonly logprobs: Float32Array | null;
}

/**
 * A segmentation, and the largest number of tokens of a response, over which the cuts are spread.
 * null: not known.
 */
export type BudgetedSegmentation = Segmentation & { readonly budget?: number | null };

/**
 * How far back a user's pattern looks, in UTF-16 units. A pattern is tried at every token, and
 * would otherwise read a long segment again and again.
 */
const PATTERN_REACH = 1000;

/**
 * @returns at least one segment (for a response of at least one token), in order, covering all
 * tokens; the first begins at token 0
 */
export function segmentResponse(response: Segmentable, options: BudgetedSegmentation): Segment[] {
  const length = response.textEnds.length;
  if (length === 0) return [];
  const starts =
    options.by === 'line' || options.by === 'sentence'
      ? textStarts(response, options.by, options).map(({ token }) => token)
      : ruleStarts(length, boundaryRule(response, options), options);
  return starts.map((start, i) => ({ start, end: starts[i + 1] ?? length }));
}

/**
 * The first token of a segment, and the UTF-16 unit at which the line or sentence before it ends.
 */
export interface Start {
  readonly token: number;
  readonly textEnd: number;
}

/**
 * Cuts by line or by sentence.
 *
 * @param shares limits of a segment's length; only a study passes another function
 * @param sizes if characters represent the tokens of a complete text: the number of tokens before
 *   character t
 */
export function textStarts(
  { text, textEnds }: Pick<Segmentable, 'text' | 'textEnds'>,
  by: 'line' | 'sentence',
  { max_segments, min_tokens, budget = null }: BudgetedSegmentation,
  sizes: ((t: number) => number) | null = null,
  shares: (place: StagePosition) => Share = shareOf,
): Start[] {
  const boundaries = new Boundaries(by, sizes !== null);
  const tokensBefore = sizes ?? ((t: number) => t);
  const starts: Start[] = [{ token: 0, textEnd: 0 }];
  const shareFrom = (token: number) =>
    shares({
      from: tokensBefore(token),
      segment: starts.length - 1,
      max_segments,
      min_tokens,
      budget,
    });
  let share = shareFrom(0);
  // No segment can begin after the last token; but a boundary may be before the last character.
  const end = sizes === null ? textEnds.length : textEnds.length + 1;
  for (let t = 1; t < end && starts.length < max_segments; t++) {
    const before = textStart(textEnds, t - 1);
    boundaries.read(text, before, textEnds[t - 1]!);
    if (!boundaries.visible) continue;
    const tokens = tokensBefore(t) - tokensBefore(starts.at(-1)!.token);
    const atEnd = boundaries.ready && tokens >= share.least;
    if (
      atEnd ||
      (tokens >= share.least && t < textEnds.length && cutsAnyway(boundaries, tokens / share.most))
    ) {
      starts.push({ token: t, textEnd: atEnd ? boundaries.at : before });
      share = shareFrom(t);
      boundaries.drop();
    } else if (boundaries.ready) boundaries.drop();
  }
  return starts;
}

/**
 * Whether a segment that is nearly as long as its share is cut here: at the end of a clause, at a
 * word, and at last anywhere. A formula is cut when the segment is twice as long.
 */
function cutsAnyway({ clause, word, visible, inFormula }: Boundaries, ofShare: number): boolean {
  if (inFormula) return visible && ofShare >= 2;
  return (clause && ofShare >= 0.75) || (word && ofShare >= 0.9) || (visible && ofShare >= 1);
}

/**
 * Cuts where a rule holds, at least `min_tokens` apart, until there are `max_segments` segments.
 */
function ruleStarts(
  length: number,
  endsSegment: (start: number, t: number) => boolean,
  { max_segments, min_tokens }: Segmentation,
): number[] {
  const starts = [0];
  for (let t = 1; t < length && starts.length < max_segments; t++) {
    const start = starts.at(-1)!;
    if (t - start >= min_tokens && endsSegment(start, t)) starts.push(t);
  }
  return starts;
}

/** Returns the text before a segment, which the critic sees as the partial response. */
export function textBefore(
  response: { readonly text: string; readonly textEnds: Int32Array },
  segment: Segment,
): string {
  return response.text.slice(0, textStart(response.textEnds, segment.start));
}

const textStart = (textEnds: Int32Array, token: number) => (token === 0 ? 0 : textEnds[token - 1]!);

/**
 * Returns whether the segment that began at token `start` ends before token `t`. Reads tokens
 * before t alone.
 */
function boundaryRule(
  { text, textEnds, logprobs }: Segmentable,
  options: Exclude<Segmentation, { by: 'line' | 'sentence' }>,
): (start: number, t: number) => boolean {
  switch (options.by) {
    case 'tokens':
      return (start, t) => t - start >= options.tokens;
    case 'low-probability': {
      if (logprobs === null)
        throw new RangeError(
          "segmentation by low-probability needs the tokens' log-probabilities, and they are " +
            'not known',
        );
      const limit = Math.log(options.probability);
      return (_, t) => logprobs[t - 1]! < limit;
    }
    case 'pattern': {
      const pattern = new RegExp(`(?:${options.pattern})$`, 'u');
      const next = nextMatch(text, options.pattern);
      return (start, t) => {
        const to = textEnds[t - 1]!;
        const from = Math.max(textStart(textEnds, start), to - PATTERN_REACH);
        return next(from) <= to && pattern.test(text.slice(from, to));
      };
    }
  }
}

/**
 * Assertions on the begin or end of a text or word, or on the text around a match: such a match
 * depends on where the text is cut.
 */
const assertion = /[\^$]|\\[bB]|\(\?<?[=!]/;

/**
 * Returns a function that gives the begin of the first match at `from` or later, before which
 * nothing can match. It searches once for many positions, so that a long text without a match is
 * read once.
 */
function nextMatch(text: string, pattern: string): (from: number) => number {
  if (assertion.test(pattern)) return () => 0;
  const search = new RegExp(pattern, 'gu');
  // The first match at `since` or later begins at `index`.
  let [since, index] = [0, -1];
  return (from) => {
    if (from < since || from > index) {
      search.lastIndex = from;
      index = search.exec(text)?.index ?? Number.POSITIVE_INFINITY;
      since = from;
    }
    return index;
  };
}
