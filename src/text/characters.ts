/** Kinds of characters for segmentation. A character may have several kinds. */

/**
 * One bit for each kind. Modules copy them out of the object once, because a binding of another
 * module is slow if every character reads it.
 */
export const KIND = {
  BLANK: 1,
  /** Ends a line. Also a blank. */
  LINE_END: 2,
  /** Ends a sentence if a blank follows: `.`, `!`, `?`, `…`. */
  SOFT_MARK: 4,
  /** Ends a sentence in any case: the Unicode property Sentence_Terminal, such as `。`, `।`, `؟`. */
  HARD_MARK: 8,
  /** May follow a mark within its sentence: closing quotes and brackets, and Markdown's `**`. */
  CLOSER: 16,
  /** May come before the first word of a sentence. */
  OPENER: 32,
  /** Ends a clause: commas, colons, semicolons. */
  CLAUSE: 64,
  LOWER: 128,
  /** A letter of any script, lower case too. */
  LETTER: 256,
  /** A letter of a script without capitals, most of which need no blanks between sentences. */
  UNCASED: 512,
  DIGIT: 1024,
  /** Emoji and other symbols that stand for words. */
  SYMBOL: 2048,
} as const;

const { BLANK, LINE_END, SOFT_MARK, HARD_MARK, CLOSER, OPENER, CLAUSE } = KIND;
const { LOWER, LETTER, UNCASED, DIGIT, SYMBOL } = KIND;

const kindsOfOther: readonly (readonly [RegExp, number])[] = [
  [/\s/u, BLANK],
  [/[\n\u0085\u2028\u2029]/u, LINE_END | BLANK],
  [/[.!?…‥．]/u, SOFT_MARK],
  // Tibetan has its own marks, which the property leaves out.
  [/(?![.!?．])[\p{Sentence_Terminal}།༎]/u, HARD_MARK],
  [/[\p{Pe}\p{Pf}\p{Pi}"'*_~`＂＇]/u, CLOSER],
  [/[\p{Ps}\p{Pi}"'*_~`#>¿¡\-–—＂＇•]/u, OPENER],
  [/[,;:，、；：،؛]/u, CLAUSE],
  [/\p{Ll}/u, LOWER | LETTER],
  [/[\p{Lu}\p{Lt}]/u, LETTER],
  [/[\p{Lo}\p{Lm}\p{Nl}]/u, UNCASED | LETTER],
  [/\p{Nd}/u, DIGIT],
  [/\p{So}/u, SYMBOL],
];

function examined(code: number): number {
  const character = String.fromCodePoint(code);
  return kindsOfOther.reduce(
    (kinds, [test, kind]) => (test.test(character) ? kinds | kind : kinds),
    0,
  );
}

/** 1 + kinds of each code point; 0: not computed yet. */
const table = new Uint16Array(0x110000);

/** @param code a code point */
export function kindOf(code: number): number {
  const known = table[code]!;
  if (known > 0) return known - 1;
  // Ideographs and Hangul syllables are too many to compute one by one.
  const isIdeograph = (code >= 0x3400 && code <= 0x9fff) || (code >= 0x20000 && code <= 0x323af);
  const kinds =
    isIdeograph || (code >= 0xac00 && code <= 0xd7a3) ? UNCASED | LETTER : examined(code);
  table[code] = kinds + 1;
  return kinds;
}
