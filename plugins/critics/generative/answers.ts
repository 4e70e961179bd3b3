/** Asks the model about states, in the way that the options say, and reads what it answers. */
import {
  ConfigError,
  type CriticContext,
  type CriticFormat,
  deriveSeed,
  type ImportanceSampling,
  type LanguageModel,
  type Prompt,
  type SampleRequest,
  type State,
  type Valuation,
} from '../../../src/plugin-api.ts';
import { sampleFrom, type Written } from './carrying.ts';
import {
  type Answer,
  type Choosing,
  expectedScores,
  forcedAnswers,
  spreadsOf,
  valuationOf,
  writtenAs,
} from './choosing.ts';
import { refuseTooLarge } from './fits-memory.ts';
import { thinkUntilSure } from './looking.ts';
import { ReadAnswer } from './read-answer.ts';
import { type ScoreTokens, scoreTokensOf } from './score-tokens.ts';

export interface AskingOptions {
  readonly read: 'sampled' | 'expected';
  readonly answer: 'free' | 'forced';
  readonly agree_within: number | null;
  readonly thinking: boolean;
  readonly temperature: number;
  readonly max_new_tokens: number;
  readonly sure_within: number | null;
  readonly look_every: number;
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
  readonly log: (text: string) => void;
}

export interface Asked {
  readonly state: State;
  readonly prompt: Prompt;
  /** The fallback value. */
  readonly standIn: number;
  /** What each of its completions begins with; null or '': with nothing. */
  readonly carried: readonly string[] | null;
}

/** @param whole states of the whole batch, if its memory is to be checked; null: not */
export async function answersTo(
  asking: Asking,
  asked: readonly Asked[],
  whole: number | null,
): Promise<readonly Valuation[]> {
  const { format, perState, options } = asking;
  if (options.answer === 'free' && (options.agree_within === null || perState <= 2)) {
    const tokens = await placesOf(asking);
    const sampled = await sample(asking, asked, 0, perState);
    if (whole !== null) refuseTooLarge(whole, sampled, perState);
    const values = await valuesOf(asking, tokens, sampled);
    return asked.map(
      ({ standIn }, i) => new ReadAnswer(sampled, i * perState, perState, format, standIn, values),
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
  if (options.answer === 'free') {
    const places = await placesOf(asking);
    return writtenAnswers(asking, places, await sample(asking, asked, from, count), count);
  }
  const tokens = await tokensOf(asking);
  if (tokens === null)
    throw new ConfigError([
      `critic: ${joins(format)}, so that the score has no place of its own: use answer: free`,
    ]);
  const expected = options.read === 'expected';
  const choosing = { model, tokens, format, temperature: temperatureOf(asking), expected };
  const rationales = options.thinking
    ? await thoughtsOf(choosing, asking, asked, from, count)
    : null;
  const prompts =
    rationales?.map(({ promptIds }) => promptIds) ?? (await promptsOf(model, asked, count));
  const seedOf = (i: number) => seed(asking, asked, i, from, count, '/score');
  const chosen = await forcedAnswers(choosing, prompts, rationales, context.greedy ? null : seedOf);
  let drawn = 0;
  for (const { completion } of chosen) drawn += writtenAs(completion.score!, tokens).length;
  context.report?.({ tokens_written: drawn });
  return chosen;
}

/** The words before scores that are forced. */
async function thoughtsOf(
  choosing: Choosing,
  asking: Asking,
  asked: readonly Asked[],
  from: number,
  count: number,
): Promise<Written[]> {
  const { model, options, context } = asking;
  if (options.sure_within === null) return sample(asking, asked, from, count);
  const { prompts, seed: _, ...request } = requestOf(asking, asked, from, count);
  const carried = carriedOf(asked, from, count);
  const begun = await model.tokenize(
    carried.map((_, i) => (prompts as readonly Prompt[])[Math.floor(i / count)]!),
    carried,
    false,
    true,
  );
  const fits = begun.map(({ completionIds }) => completionIds.length < request.max_new_tokens);
  const thoughts = await thinkUntilSure(
    {
      ...{ model, request, every: options.look_every, within: options.sure_within },
      seed: (i, to) => seed(asking, asked, i, from, count, `/to-${to}`),
      spreads: (some) => spreadsOf(choosing, some),
    },
    begun.map((one, i) => (fits[i] ? one : { ...one, completionIds: new Int32Array() })),
    carried.map((text, i) => (fits[i] ? text : '')),
  );
  reportWritten(context, thoughts);
  return thoughts;
}

/** The answers that the critic wrote itself, of `count` completions of each state. */
async function writtenAnswers(
  asking: Asking,
  tokens: ScoreTokens | null,
  sampled: readonly Written[],
  count: number,
): Promise<Answer[]> {
  const values = await valuesOf(asking, tokens, sampled);
  const answers: Answer[] = [];
  for (let from = 0; from < sampled.length; from += count) {
    const own = new ReadAnswer(sampled, from, count, asking.format, 0, values);
    const { completions, rationale } = own;
    for (const [i, completion] of completions.entries())
      answers.push({ completion, rationale, value: own.valueOf(i) });
  }
  return answers;
}

/** null: the score that is written is the value. */
const placesOf = async (asking: Asking): Promise<ScoreTokens | null> =>
  asking.options.read === 'expected' ? tokensOf(asking) : null;

/** The expected score of each completion; null: the score that is written is the value. */
async function valuesOf(
  asking: Asking,
  tokens: ScoreTokens | null,
  sampled: readonly Written[],
): Promise<Float64Array | null> {
  const { model, format } = asking;
  if (tokens === null) return null;
  return expectedScores({ model, tokens, format, temperature: temperatureOf(asking) }, sampled);
}

/** The best single answer has the probabilities as the model has them. */
const temperatureOf = ({ options, context }: Asking) => (context.greedy ? 1 : options.temperature);

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

const known = new WeakMap<LanguageModel, Promise<ScoreTokens | null>>();

/**
 * Made once for a model.
 *
 * @returns null: scores have no place of their own, which the log says
 */
export async function tokensOf({
  model,
  format,
  options,
  log,
}: Asking): Promise<ScoreTokens | null> {
  const isFirst = !known.has(model);
  if (isFirst) known.set(model, scoreTokensOf(model, format));
  const tokens = (await known.get(model))!;
  if (tokens === null && isFirst && options.answer === 'free')
    log(`critic: ${joins(format)}: the score that is written is the value, as by read: sampled`);
  return tokens;
}

const joins = ({ score }: CriticFormat) =>
  `its tokenizer joins "${score.open}" with the score behind it`;

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

async function sample(
  asking: Asking,
  asked: readonly Asked[],
  from: number,
  count: number,
): Promise<Written[]> {
  const request = requestOf(asking, asked, from, count);
  const carried = carriedOf(asked, from, count);
  const sampled: Written[] = carried.some((text) => text !== '')
    ? await sampleFrom(asking.model, request, carried)
    : await asking.model.sample(request);
  reportWritten(asking.context, sampled);
  return sampled;
}

function requestOf(
  asking: Asking,
  asked: readonly Asked[],
  from: number,
  count: number,
): SampleRequest {
  const { format, options, context } = asking;
  return {
    ...{ top_p: null, top_k: null, max_new_tokens: options.max_new_tokens },
    // The words before a score that is forced end where the critic opens its tag.
    stop_strings: options.answer === 'forced' ? [format.score.open] : [],
    prompts: asked.map(({ prompt }) => prompt),
    literal: true,
    onlyIds: options.importance_sampling === null,
    completionsPerPrompt: count,
    temperature: context.greedy ? 0 : options.temperature,
    seed: (i) => seed(asking, asked, i, from, count),
  };
}

const carriedOf = (asked: readonly Asked[], from: number, count: number): string[] =>
  asked.flatMap(({ carried }) =>
    Array.from({ length: count }, (_, i) => carried?.[from + i] ?? ''),
  );

function reportWritten({ report }: CriticContext, sampled: readonly Written[]): void {
  let [tokens, put] = [0, 0];
  for (const { completionIds, carried = 0 } of sampled) {
    tokens += completionIds.length - carried;
    put += carried;
  }
  report?.({ tokens_written: tokens, ...(put > 0 && { tokens_carried: put }) });
}
