/**
 * What a critic is worth, as functions of sums over problems: so that a bootstrap over problems
 * only adds sums up. Errors are against reference values whose own sampling variance is subtracted.
 */
import { groupBy } from '../math/statistics.ts';
import { rankedFirst } from './ranking.ts';

/** The value of a state, as well as it is known. */
export interface Reference {
  /** Mean reward of the responses that went on from the state, in [0, 1]. */
  readonly mean: number;
  /** Mean of the squared rewards; `mean` where rewards are 0 or 1. */
  readonly square: number;
  /** How many responses; null: the value is exact. */
  readonly count: number | null;
}

/** A state that a critic valued. */
export interface JudgedState {
  /** Number of the problem. */
  readonly problem: number;
  /** Number of the response among those to its problem; null: s_0, which all of them share. */
  readonly response: number | null;
  /** k of s_k. */
  readonly index: number;
  readonly reference: Reference;
  /** In [0, 1]. */
  readonly value: number;
  /** Was the value the critic's own, and not a fallback? */
  readonly parsed: boolean;
}

/** A response by the value that ranks it, which the critic gave without its reward. */
export interface Candidate {
  readonly problem: number;
  readonly value: number;
  /** Is it right: a reward of at least 1/2? */
  readonly right: boolean;
}

/** What one critic said of one set of states. */
export interface Judgement {
  readonly states: readonly JudgedState[];
  readonly candidates: readonly Candidate[];
}

export interface Measure {
  readonly name: string;
  /** What it says, in one sentence. */
  readonly words: string;
  readonly better: 'less' | 'more' | 'zero';
  /** Sums over the cases of one problem, of the same length for all problems. */
  sums(judgement: Judgement): number[];
  /** From the sums of several problems; NaN: they don't tell. */
  of(sums: Float64Array): number;
  /** How many cases the sums are of. Default: the first sum. */
  cases?(sums: Float64Array): number;
}

/** Variance of a reference value around the true one; NaN: of one response it isn't known. */
const noiseOf = ({ mean, square, count }: Reference): number =>
  count === null ? 0 : (square - mean * mean) / (count - 1);

/** Brier score of a state: the mean of (value - reward)^2 over its responses. */
const brierOf = ({ value, reference: { mean, square } }: JudgedState): number =>
  value * value - 2 * value * mean + square;

const over = <T>(items: readonly T[], parts: (item: T) => readonly number[]): number[] => {
  const sums: number[] = [];
  for (const item of items)
    for (const [i, part] of parts(item).entries()) sums[i] = (sums[i] ?? 0) + part;
  return sums;
};

/** `sums` of a mean over states, the number of states first. */
const overStates =
  (parts: (state: JudgedState) => readonly number[]) =>
  ({ states }: Judgement) =>
    over(states, (state) => [1, ...parts(state)]);

const errorOf = ({ value, reference }: JudgedState): number =>
  (value - reference.mean) ** 2 - noiseOf(reference);

/** Scores 0..10: states are put together by the nearest one. */
export const BINS = 11;
export const binOf = (value: number): number => Math.round(value * (BINS - 1));

/** [number, sum of values, sum of references] of each bin. */
const binned = ({ states }: Judgement): number[] => {
  const sums = new Array<number>(3 * BINS).fill(0);
  for (const { value, reference } of states) {
    const bin = 3 * binOf(value);
    sums[bin] = sums[bin]! + 1;
    sums[bin + 1] = sums[bin + 1]! + value;
    sums[bin + 2] = sums[bin + 2]! + reference.mean;
  }
  return states.length === 0 ? [] : sums;
};

const overBins = (
  sums: Float64Array,
  term: (count: number, values: number, references: number, mean: number) => number,
): number => {
  let [count, references, total] = [0, 0, 0];
  for (let bin = 0; bin < sums.length; bin += 3) {
    count += sums[bin]!;
    references += sums[bin + 2]!;
  }
  for (let bin = 0; bin < sums.length; bin += 3)
    if (sums[bin]! > 0)
      total += term(sums[bin]!, sums[bin + 1]!, sums[bin + 2]!, references / count);
  return total / count;
};

const casesOfBins = (sums: Float64Array) =>
  sums.filter((_, i) => i % 3 === 0).reduce((a, b) => a + b, 0);

/** A drop of the reference value, from one state to the next, that is worth being seen. */
export const WRONG_STEP = 0.25;
/** Of its own standard error, so that no step is wrong by chance. */
const ERRORS = 3;

/** The states of each response of a problem, s_0 among them, in order; of at least two states. */
function chains({ states }: Judgement): JudgedState[][] {
  const shared = states.filter(({ response }) => response === null);
  const own = groupBy(
    states.filter(({ response }) => response !== null),
    ({ response }) => response,
  );
  return [...own.values()]
    .map((chain) => [...shared, ...chain].sort((a, b) => a.index - b.index))
    .filter((chain) => chain.length > 1);
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Squared error and squared size of the changes of value within a response. */
function withinResponse(chain: readonly JudgedState[]): [number, number, number] {
  const value = mean(chain.map((state) => state.value));
  const truth = mean(chain.map((state) => state.reference.mean));
  let [error, size] = [0, 0];
  for (const state of chain) {
    const noise = noiseOf(state.reference) * (1 - 1 / chain.length);
    const own = state.reference.mean - truth;
    error += (state.value - value - own) ** 2 - noise;
    size += own * own - noise;
  }
  return [1, error, size];
}

/** Is the critic's largest drop the reference's? Ties share. [responses, found, by chance]. */
function wrongStep(chain: readonly JudgedState[]): number[] {
  // Of one step, or where a state between is not valued, there is nothing to choose.
  if (chain.length < 3 || chain.some(({ index }, i) => index !== chain[0]!.index + i))
    return [0, 0, 0];
  // The outcome of one response is no value: it "drops" behind s_0 wherever the response fails.
  if (chain.some(({ reference }) => reference.count === 1)) return [0, 0, 0];
  const drops = (of: (state: JudgedState) => number) =>
    chain.slice(1).map((state, i) => of(chain[i]!) - of(state));
  const truth = drops(({ reference }) => reference.mean);
  const [seen, worst] = [drops(({ value }) => value), Math.max(...truth)];
  const at = truth.indexOf(worst);
  const noise = noiseOf(chain[at]!.reference) + noiseOf(chain[at + 1]!.reference);
  if (!(worst >= WRONG_STEP && worst >= ERRORS * Math.sqrt(noise))) return [0, 0, 0];
  const largest = Math.max(...seen);
  const first = seen.flatMap((drop, i) => (drop >= largest - 1e-9 ? [i] : []));
  const hits = first.filter((i) => truth[i]! >= worst - 1e-9);
  return [1, hits.length / first.length, 1 / truth.length];
}

const ratio = (sums: Float64Array) => sums[1]! / sums[0]!;

export const measures: readonly Measure[] = [
  {
    name: 'mse',
    words:
      'mean squared error of the values against the reference values, whose own variance is ' +
      'subtracted',
    better: 'less',
    sums: overStates((state) => [errorOf(state)]),
    of: ratio,
  },
  {
    name: 'explained_variance',
    words: '1 - mse / variance of the reference values: 0 for the best constant, 1 for no error',
    better: 'more',
    sums: overStates((state) => {
      const { reference } = state;
      return [errorOf(state), reference.mean, reference.mean ** 2 - noiseOf(reference)];
    }),
    of: ([n, error, first, second]) => {
      const variance = second! / n! - (first! / n!) ** 2;
      return variance > 1e-9 ? 1 - error! / n! / variance : Number.NaN;
    },
  },
  {
    name: 'bias',
    words: 'mean of value - reference value',
    better: 'zero',
    sums: overStates(({ value, reference }) => [value - reference.mean]),
    of: ratio,
  },
  {
    name: 'brier',
    words: 'mean of (value - reward)^2 over the responses that went on from a state',
    better: 'less',
    sums: overStates((state) => [brierOf(state)]),
    of: ratio,
  },
  {
    name: 'reliability',
    words:
      'part of the Brier score that calibration would mend: how far the values of a bin are from ' +
      'its mean reference value (11 bins, by the nearest score)',
    better: 'less',
    sums: binned,
    of: (sums) => overBins(sums, (n, values, truth) => (values - truth) ** 2 / n),
    cases: casesOfBins,
  },
  {
    name: 'resolution',
    words: "part of the Brier score that the values earn: how far the bins' means are apart",
    better: 'more',
    sums: binned,
    of: (sums) => overBins(sums, (n, _, truth, all) => n * (truth / n - all) ** 2),
    cases: casesOfBins,
  },
  {
    name: 'within_response',
    words:
      'explained variance of the changes of value within a response: 0 for a critic that says the ' +
      'same of all its states',
    better: 'more',
    sums: (judgement) => over(chains(judgement), withinResponse),
    of: (sums) => (sums[2]! > 1e-9 ? 1 - sums[1]! / sums[2]! : Number.NaN),
  },
  {
    name: 'wrong_step',
    words:
      'share of the responses with a drop of the reference value by .25 or more (and by three of ' +
      "its standard errors) in which the critic's largest drop is the same step (a critic that " +
      'always says the same: chance)',
    better: 'more',
    sums: (judgement) => over(chains(judgement), wrongStep),
    of: ratio,
  },
  ...[2, 4, 8, 16].map(
    (size): Measure => ({
      name: `top1_of_${size}`,
      words:
        `how often the right one is valued highest among ${size} responses to a problem of which ` +
        `one is right (chance: ${(1 / size).toFixed(3)})`,
      better: 'more',
      sums: ({ candidates }) => {
        const found = rankedFirst(candidates, size);
        return found === null ? [0, 0] : [1, found];
      },
      of: ratio,
    }),
  ),
  {
    name: 'parse_rate',
    words: 'share of the states of which the critic gave a value of its own',
    better: 'more',
    sums: overStates(({ parsed }) => [parsed ? 1 : 0]),
    of: ratio,
  },
];
