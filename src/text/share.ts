/**
 * How long a segment may be and must be, so that the cuts are spread over all that a response may
 * hold. Both are known when the segment begins.
 */

export interface Place {
  /** Tokens before the segment. */
  readonly from: number;
  /** Its number, from 0. */
  readonly segment: number;
  /** Segments of a response. */
  readonly max_segments: number;
  readonly min_tokens: number;
  /** The most tokens that the response can have; null: not known. */
  readonly budget: number | null;
}

export interface Share {
  /** Tokens: a sentence that ends sooner does not end the segment. */
  readonly least: number;
  /**
   * Tokens: the segment's fair share, after which it ends, where a cut is left, whatever the text
   * says.
   */
  readonly most: number;
}

/** How fast segments may grow. */
export interface Growth {
  /**
   * With a budget: each segment may be longer than the one before by this factor, so that short
   * responses are cut finely.
   */
  readonly withBudget: number;
  /** Without: the same, for the second half of the cuts. The first half is not thinned. */
  readonly without: number;
}

/** Chosen in docs/segmentation.md. */
const GROWTH: Growth = { withBudget: 1.25, without: 1.4 };
/** A sentence up to this length, in tokens, is not cut, though its fair share be smaller. */
const SENTENCE = 32;
/** The fair share, in tokens, of the first segments where the budget is not known. */
const SHARE_WITHOUT_BUDGET = 64;

/**
 * With a budget B, `from` tokens written and n segments left: `most` is the fair share (B - from) /
 * n, and `least` the first of n lengths that grow by a factor g and together are B - from: (B -
 * from) (g - 1) / (g^n - 1). So the cuts last until the budget ends, whatever the text.
 */
export function shareOf(place: Place, growth: Growth = GROWTH): Share {
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
