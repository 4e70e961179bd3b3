/** Asks the model about states, in the way that the options say, and reads what it answers. */
import {
  type CriticContext,
  type CriticFormat,
  deriveSeed,
  type ImportanceSampling,
  type LanguageModel,
  type Prompt,
  type Sampled,
  type State,
  type Valuation,
} from '../../../src/plugin-api.ts';
import { type Answer, expectedAnswers, forcedAnswers, valuationOf } from './choosing.ts';
import { refuseTooLarge } from './fits-memory.ts';
import { ReadAnswer } from './read-answer.ts';
import { type ScoreTokens, scoreTokensOf } from './score-tokens.ts';

export interface AskingOptions {
  readonly read: 'sampled' | 'expected';
  readonly answer: 'free' | 'forced';
  readonly agree_within: number | null;
  readonly thinking: boolean;
  readonly temperature: number;
  readonly max_new_tokens: number;
  /** Needs the log-probabilities of what is sampled; null: they are dropped. */
  readonly importance_sampling: ImportanceSampling | null;
}

export interface Asking {
  readonly model: LanguageModel;
  readonly format: CriticFormat;
  readonly seed: number;
  readonly options: AskingOptions;
  readonly perState: number;
  readonly context: CriticContext;
}

export interface Asked {
  readonly state: State;
  readonly prompt: Prompt;
  /** The fallback value. */
  readonly standIn: number;
}

/**
 * Are scores read by their probabilities? Those depend in their last digits on what else is asked.
 */
export const choosesScores = ({ read, answer }: Pick<AskingOptions, 'read' | 'answer'>): boolean =>
  read === 'expected' || answer === 'forced';

/** @param whole states of the whole batch, if its memory is to be checked; null: not */
export async function answersTo(
  asking: Asking,
  asked: readonly Asked[],
  whole: number | null,
): Promise<readonly Valuation[]> {
  const { format, perState, options } = asking;
  if (!choosesScores(options) && (options.agree_within === null || perState <= 2)) {
    const sampled = await sample(asking, asked, 0, perState);
    if (whole !== null) refuseTooLarge(whole, sampled, perState);
    return asked.map(
      ({ standIn }, i) => new ReadAnswer(sampled, i * perState, perState, format, standIn),
    );
  }
  const answers = asked.map((): Answer[] => []);
  let open = [...asked.keys()];
  for (let done = 0; done < perState && open.length > 0; ) {
    // Where the first two disagree, no further one can make all agree: the others come at once.
    const first = options.agree_within === null ? perState : Math.min(2, perState);
    const count = done === 0 ? first : perState - done;
    const round = await answered(
      asking,
      open.map((i) => asked[i]!),
      done,
      count,
    );
    for (const [k, i] of open.entries())
      answers[i]!.push(...round.slice(k * count, (k + 1) * count));
    done += count;
    open = open.filter((i) => !agree(answers[i]!, options.agree_within));
  }
  return asked.map(({ standIn }, i) => valuationOf(answers[i]!, standIn));
}

/** Is every score within so much of every other, and none malformed? */
function agree(answers: readonly Answer[], within: number | null): boolean {
  if (within === null) return false;
  const scores = answers.map(({ completion: { score } }) => score);
  if (scores.some((score) => score === null)) return false;
  const all = scores as number[];
  return Math.max(...all) - Math.min(...all) <= within;
}

/** Completions number `from` .. `from + count - 1` of each state, state by state. */
async function answered(
  asking: Asking,
  asked: readonly Asked[],
  from: number,
  count: number,
): Promise<Answer[]> {
  const { model, format, options, context } = asking;
  const expected = options.read === 'expected';
  if (!choosesScores(options)) {
    const sampled = await sample(asking, asked, from, count);
    return asked.flatMap((_, i) => {
      const own = new ReadAnswer(sampled, i * count, count, format, 0);
      return own.completions.map((completion) => ({
        ...{ completion, value: completion.score === null ? null : completion.score / 10 },
        rationale: own.rationale,
      }));
    });
  }
  const tokens = await tokensOf(model, format);
  const temperature = context.greedy ? 1 : options.temperature;
  const choosing = { model, tokens, format, temperature, expected };
  if (options.answer === 'free')
    return expectedAnswers(choosing, await sample(asking, asked, from, count));
  const rationales = options.thinking ? await sample(asking, asked, from, count) : null;
  const prompts =
    rationales?.map(({ promptIds }) => promptIds) ?? (await promptsOf(model, asked, count));
  const seedOf = (i: number) => seed(asking, asked, i, from, count, '/score');
  return forcedAnswers(choosing, prompts, rationales, context.greedy ? null : seedOf);
}

async function promptsOf(
  model: LanguageModel,
  asked: readonly Asked[],
  count: number,
): Promise<Int32Array[]> {
  const read = await model.tokenize(
    asked.map(({ prompt }) => prompt),
    asked.map(() => ''),
    false,
    true,
  );
  return read.flatMap(({ promptIds }) => Array<Int32Array>(count).fill(promptIds));
}

const known = new WeakMap<LanguageModel, Promise<ScoreTokens>>();

/** Made once for a model. */
function tokensOf(model: LanguageModel, format: CriticFormat): Promise<ScoreTokens> {
  const tokens = known.get(model) ?? scoreTokensOf(model, format);
  known.set(model, tokens);
  return tokens;
}

function seed(
  { seed: own, context: { purpose, iteration } }: Asking,
  asked: readonly Asked[],
  i: number,
  from: number,
  count: number,
  what = '',
) {
  const { id } = asked[Math.floor(i / count)]!.state;
  return deriveSeed(own, `critic/${purpose}/${id}${what}`, iteration, from + (i % count));
}

function sample(
  asking: Asking,
  asked: readonly Asked[],
  from: number,
  count: number,
): Promise<Sampled[]> {
  const { model, format, options, context } = asking;
  return model.sample({
    ...{ top_p: null, top_k: null, max_new_tokens: options.max_new_tokens },
    // The words before a score that is forced end where the critic opens its tag.
    stop_strings: options.answer === 'forced' ? [format.score.open] : [],
    prompts: asked.map(({ prompt }) => prompt),
    literal: true,
    onlyIds: options.importance_sampling === null,
    completionsPerPrompt: count,
    temperature: context.greedy ? 0 : options.temperature,
    seed: (i) => seed(asking, asked, i, from, count),
  });
}
