/**
 * The marks of a critic's score. `open` and `close` enclose it: `<score>7</score>` (the default),
 * or the miniature's `# 7 .`.
 */
export interface ScoreFormat {
  readonly open: string;
  readonly close: string;
}

/** GenAC's default: a tag, which can't be mistaken for prose. */
export const tagFormat: ScoreFormat = { open: '<score>', close: '</score>' };

export interface ParsedScore {
  /** Integer 0..10. */
  readonly score: number;
  /** score / 10, in [0, 1]. */
  readonly value: number;
  /** The text before the tag, trimmed. */
  readonly rationale: string;
}

const integer = /^(?:[0-9]|10)$/;
const blanks = new Set(' \t\r\n');

/**
 * Reads the score of a critic's own completion strictly. The last complete tag counts. It holds a
 * plain decimal integer 0..10 (ASCII digits, no sign, point, fraction or leading zero; blanks
 * around it are fine), and only blanks follow it. Anything else is malformed. (v = score / 10:
 * GenAC, arXiv 2604.10701.)
 *
 * @param completion the critic's completion alone, never its prompt
 * @returns null: malformed
 */
export function parseScore(
  completion: string,
  format: ScoreFormat = tagFormat,
): ParsedScore | null {
  const close = completion.lastIndexOf(format.close);
  if (close < 0) return null;
  if (trim(completion.slice(close + format.close.length)) !== '') return null;
  const open = completion.lastIndexOf(format.open, close - format.open.length);
  if (open < 0) return null;
  const text = trim(completion.slice(open + format.open.length, close));
  if (!integer.test(text)) return null;
  const score = Number(text);
  return { score, value: score / 10, rationale: trim(completion.slice(0, open)) };
}

/** Trims ASCII blanks only: `String.trim` also removes Unicode's white space. */
function trim(text: string): string {
  let [from, to] = [0, text.length];
  while (from < to && blanks.has(text[from]!)) from++;
  while (to > from && blanks.has(text[to - 1]!)) to--;
  return text.slice(from, to);
}
