/** The token ids by which a score is written, as the model's own tokenizer makes them. */
import { type CriticFormat, type LanguageModel, writeTrace } from '../../../src/plugin-api.ts';

export interface ScoreTokens {
  /** The tag's opening behind a rationale, and by itself. */
  readonly openBehind: readonly number[];
  readonly open: readonly number[];
  /** Blanks between the opening and every score. */
  readonly gap: readonly number[];
  /** Of each score 0..10. */
  readonly scores: readonly (readonly number[])[];
  /** What follows the score. */
  readonly close: readonly number[];
}

/**
 * What is common to all eleven at the beginning and at the end; between these lies the score.
 *
 * @returns null where the tokenizer joins a score with the tag's opening, so that it has no place
 * of its own
 */
export async function scoreTokensOf(
  model: LanguageModel,
  format: CriticFormat,
): Promise<ScoreTokens | null> {
  const { score } = format;
  const scores = Array.from({ length: 11 }, (_, k) => k);
  const written = scores.map((k) => writeTrace('', k, format));
  const opening = written[0]!.slice(0, written[0]!.indexOf(score.open) + score.open.length);
  const separator = score.open.startsWith('<') ? '\n' : ' ';
  const texts = [...written, opening, `${separator}${opening}`];
  // As traces are: a tag is text, also where a tokenizer has a token of its own for it.
  const read = await model.tokenize(
    texts.map(() => 'x'),
    texts,
    false,
    true,
  );
  const ids = read.map(({ completionIds }) => [...completionIds]);
  const all = ids.slice(0, scores.length);
  const [open, openBehind] = ids.slice(scores.length) as [number[], number[]];
  const before = shared(all);
  const after = shared(all.map((own) => own.slice(before.length).reverse())).reverse();
  const middle = all.map((own) => own.slice(before.length, own.length - after.length));
  const isAligned = before.length >= open.length && open.every((id, i) => before[i] === id);
  if (!isAligned || middle.some((own) => own.length === 0)) return null;
  const gap = before.slice(open.length);
  return { open, openBehind, gap, scores: middle, close: after };
}

/** The longest beginning that all have. */
function shared(all: readonly (readonly number[])[]): number[] {
  const [first] = all;
  let length = 0;
  while (length < first!.length && all.every((one) => one[length] === first![length])) length++;
  return first!.slice(0, length);
}

/** The most tokens of a tag that is opened behind a thought, and of its score. */
export const mostTokens = ({ openBehind, gap, scores }: ScoreTokens): number =>
  openBehind.length + gap.length + Math.max(...scores.map((own) => own.length + 1));
