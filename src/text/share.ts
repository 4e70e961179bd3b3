/**
 * Shortest and longest length of a segment, so that the cuts are spread over the whole response.
 * Both are known when the segment begins.
 */

export interface StagePosition {
  /** Tokens before the segment. */
  readonly from: number;
  /** Number of the segment, from 0. */
  readonly segment: number;
  /** Largest number of segments of a response. */
  readonly max_segments: number;
  readonly min_tokens: number;
  /** Largest number of tokens of the response; null: not known. */
  readonly budget: number | null;
}

export interface Share {
  /** Tokens: a sentence that ends sooner does not end the segment. */
  readonly least: number;
  /**
   * Tokens: the segment's fair share. The segment ends there if a cut is left, whatever the text
   * says.
   */
  readonly most: number;
}

/** How fast segments may grow. */
export interface Growth {
  /**
   * With a budget: factor by which a segment may be longer than the one before, so that short
   * responses are cut finely.
   */
  readonly withBudget: number;
  /**
   * Without a budget: the same for the second half of the cuts. The first half cuts at every
   * sentence.
   */
  readonly without: number;
}

/** Chosen in docs/segmentation.md. */
const GROWTH: Growth = { withBudget: 1.25, without: 1.4 };
/** A sentence of at most this many tokens is not cut, even if its fair share is smaller. */
const SENTENCE = 32;
/** The fair share, in tokens, of the first segments if the budget is not known. */
const SHARE_WITHOUT_BUDGET = 64;

/**
 * With a budget B, `from` tokens written and n segments left: `most` is the fair share (B - from) /
 * n, and `least` the first of n lengths that grow by a factor g and sum to B - from: (B - from) (g
 * - 1) / (g^n - 1). So the cuts last until the budget ends, whatever the text.
 */
export function shareOf(place: StagePosition, growth: Growth = GROWTH): Share {
  const { from, segment, max_segments, min_tokens, budget } = place;
  const left = max_segments - segment;
  if (budget === null) {
    const least = 2 * segment < max_segments - 1 ? 0 : from * (growth.without - 1);
    return bounded(least, Math.max(SHARE_WITHOUT_BUDGET, 2 * least), min_tokens);
  }
  const tokens = Math.max(0, budget - from);
  const g = growth.withBudget;
  return bounded(
    g === 1 ? tokens / left : (tokens * (g - 1)) / (g ** left - 1),
    tokens / left,
    min_tokens,
  );
}

function bounded(least: number, most: number, minimum: number): Share {
  const atLeast = Math.max(minimum, Math.floor(least));
  return { least: atLeast, most: Math.max(atLeast, SENTENCE, Math.ceil(most)) };
}
