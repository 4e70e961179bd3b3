/**
 * Scores by their probabilities at the place of the score: their mean, and an integer drawn among
 * the eleven where the critic wrote none.
 */
import {
  type CriticCompletion,
  type CriticFormat,
  forEachYielding,
  type LanguageModel,
  mean,
  Random,
  readScore,
  type Valuation,
  writeTrace,
} from '../../../src/plugin-api.ts';
import { maskOf, type Written } from './carrying.ts';
import type { ScoreTokens } from './score-tokens.ts';

/** One completion, read. */
export interface Answer {
  readonly completion: CriticCompletion;
  /** In [0, 1]; null: malformed. */
  readonly value: number | null;
  readonly rationale: string;
}

/** A completion up to the place of its score. */
interface Begun {
  readonly promptIds: Int32Array;
  readonly before: Int32Array;
  readonly rationale: string;
  /** 1: the critic drew the token itself. */
  readonly mask: Uint8Array;
  /** Of the tokens that an engine drew; empty: not kept, or there are none. */
  readonly logprobs: Float32Array;
}

export interface Choosing {
  readonly model: LanguageModel;
  readonly tokens: ScoreTokens;
  readonly format: CriticFormat;
  readonly temperature: number;
  /** The value is the mean over the scores' probabilities, not the score that was drawn. */
  readonly expected: boolean;
}

/**
 * The mean score of each completion, in [0, 1], at the place where the critic wrote its own; NaN
 * where it wrote none. Where it wrote the score in other tokens than the tokenizer would, the score
 * itself.
 */
export async function expectedScores(
  { model, tokens, format, temperature }: Omit<Choosing, 'expected'>,
  sampled: readonly Written[],
): Promise<Float64Array> {
  const values = new Float64Array(sampled.length).fill(Number.NaN);
  const known: number[] = [];
  const begun: Pick<Begun, 'promptIds' | 'before'>[] = [];
  await forEachYielding(sampled, ({ promptIds, completionIds, text }, i) => {
    const read = readScore(text, format);
    if (read === null) return;
    values[i] = read.value;
    const place = placeOf(completionIds, tokens, read.score);
    if (place === null) return;
    known.push(i);
    begun.push({ promptIds, before: completionIds.subarray(0, place) });
  });
  const found = await probabilities(model, begun, tokens, temperature);
  for (const [k, i] of known.entries()) values[i] = meanScore(found[k]!);
  return values;
}

/** Where the score begins; null: it was written in other tokens. */
function placeOf(ids: Int32Array, { scores, close }: ScoreTokens, score: number): number | null {
  const end = [...scores[score]!, ...close];
  // Blanks, and the end of the sequence, may follow.
  for (let at = ids.length - end.length; at >= Math.max(0, ids.length - end.length - 3); at--)
    if (end.every((id, i) => ids[at + i] === id)) return at;
  return null;
}

/**
 * The tag is opened for the critic where it did not open it itself, and the score is drawn among
 * the eleven.
 *
 * @param rationales what it wrote before; null: it is asked for the score alone
 * @param seed of the draw of each; null: the likeliest score
 */
export async function forcedAnswers(
  { model, tokens, format, temperature, expected }: Choosing,
  prompts: readonly Int32Array[],
  rationales: readonly Written[] | null,
  seed: ((i: number) => readonly [number, number]) | null,
): Promise<Answer[]> {
  const begun = prompts.map((promptIds, i) =>
    rationales === null
      ? opened(promptIds, nothing, [...tokens.open, ...tokens.gap], '')
      : ownOrOpened(promptIds, rationales[i]!, tokens, format),
  );
  const found = await probabilities(model, begun, tokens, temperature);
  return begun.map(({ promptIds, before, rationale, mask, logprobs }, i) => {
    const chances = found[i]!;
    const score =
      seed === null ? chances.indexOf(Math.max(...chances)) : new Random(seed(i)).weighted(chances);
    const drawn = writtenAs(score, tokens);
    return {
      completion: {
        ...{ promptIds, completionIds: Int32Array.of(...before, ...drawn), score },
        ...{ mask: Uint8Array.of(...mask, ...drawn.map(() => 1)), logprobs },
        text: writeTrace(rationale, score, format),
      },
      value: expected ? meanScore(chances) : score / 10,
      rationale,
    };
  });
}

/** The tokens of a score that is drawn for the critic. */
export const writtenAs = (score: number, tokens: ScoreTokens): readonly number[] => [
  ...tokens.scores[score]!,
  ...ended(tokens, score),
];

/** Standard deviation of the score that each thought would end with, if it ended here. */
export async function spreadsOf(
  { model, tokens, format }: Omit<Choosing, 'expected'>,
  thoughts: readonly Written[],
): Promise<number[]> {
  const begun = thoughts.map((thought) => ownOrOpened(thought.promptIds, thought, tokens, format));
  const found = await probabilities(model, begun, tokens, 1);
  return found.map((chances) => {
    const center = meanScore(chances);
    const square = chances.reduce((sum, p, score) => sum + p * (score / 10 - center) ** 2, 0);
    return Math.sqrt(square);
  });
}

/**
 * What follows a score that begins another one ("1" and "10", for tokenizers of digits): it was
 * drawn too, and without it no gradient would tell the two apart.
 */
function ended({ scores, close }: ScoreTokens, score: number): readonly number[] {
  const own = scores[score]!;
  const isBegun = scores.some((other, k) => k !== score && own.every((id, i) => other[i] === id));
  return isBegun ? close.slice(0, 1) : [];
}

const nothing = { completionIds: new Int32Array(), logprobs: new Float32Array() };

function opened(
  promptIds: Int32Array,
  {
    completionIds: written,
    logprobs,
    carried = 0,
  }: Pick<Written, 'completionIds' | 'logprobs' | 'carried'>,
  open: readonly number[],
  rationale: string,
): Begun {
  return {
    ...{ promptIds, rationale, before: Int32Array.of(...written, ...open), logprobs },
    mask: Uint8Array.of(...maskOf(written.length, carried), ...open.map(() => 0)),
  };
}

/** It stopped at the tag that it opened; else its thinking ended, or was ended. */
function ownOrOpened(
  promptIds: Int32Array,
  sampled: Written,
  tokens: ScoreTokens,
  { score }: CriticFormat,
): Begun {
  const { completionIds, logprobs, text, finishReason } = sampled;
  if (finishReason === 'stop_string' && text.endsWith(score.open)) {
    const rationale = text.slice(0, -score.open.length).trim();
    return opened(promptIds, sampled, tokens.gap, rationale);
  }
  const own =
    finishReason === 'stop_token'
      ? {
          ...sampled,
          ...{ completionIds: completionIds.subarray(0, -1), logprobs: logprobs.subarray(0, -1) },
        }
      : sampled;
  return opened(promptIds, own, [...tokens.openBehind, ...tokens.gap], text.trim());
}

/** Of the eleven scores, with sum 1. */
async function probabilities(
  model: LanguageModel,
  begun: readonly Pick<Begun, 'promptIds' | 'before'>[],
  { scores }: ScoreTokens,
  temperature: number,
): Promise<number[][]> {
  if (begun.length === 0) return [];
  const sequences = begun.map(({ promptIds, before }) => ({ promptIds, completionIds: before }));
  const logprobs = await model.choices(sequences, scores, temperature);
  return logprobs.map((own) => {
    const most = Math.max(...own);
    const weights = Array.from(own, (one) => Math.exp(one - most));
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / sum);
  });
}

const meanScore = (chances: readonly number[]): number =>
  Math.min(
    1,
    chances.reduce((sum, chance, score) => sum + (chance * score) / 10, 0),
  );

/** A state's answers as its valuation. */
export function valuationOf(answers: readonly Answer[], standIn: number): Valuation {
  const values = answers.flatMap(({ value }) => (value === null ? [] : [value]));
  return {
    value: values.length > 0 ? mean(values) : standIn,
    rationale: (answers.find(({ value }) => value !== null) ?? answers[0]!).rationale,
    parsed: values.length > 0 ? 'ok' : 'malformed',
    completions: answers.map(({ completion }) => completion),
  };
}
