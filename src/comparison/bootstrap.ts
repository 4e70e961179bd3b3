/** Intervals by a bootstrap over problems (Efron 1979, percentiles); comparisons are paired. */
import { deriveSeed, Random } from '../math/random.ts';
import { groupBy } from '../math/statistics.ts';
import { type Judgement, type Measure, measures } from './measures.ts';

export interface Figure {
  readonly value: number;
  /** 95% interval. NaN, in JSON null: a single problem tells nothing of others. */
  readonly low: number;
  readonly high: number;
}

/** A figure, and how many cases (states, responses or problems) it is of. */
export interface Measured extends Figure {
  readonly n: number;
}

/** Sums of one measure for each problem: length of the sums x problems. */
interface Sums {
  readonly width: number;
  readonly perProblem: Float64Array;
}

/** Which cases are drawn together, the same for all critics. */
export interface Resamples {
  /** Cases of each resample, by their numbers. */
  readonly draws: readonly Int32Array[];
  /** Number of the problem that each case is of. */
  readonly problemOf: Int32Array;
}

/**
 * Resamples of problems. A problem that several actors answered is several cases, and is drawn with
 * all of them: they are no independent ones.
 *
 * @param names of the problem of each case; equal ones are one problem
 */
export function resamplesOf(
  names: readonly (string | number)[],
  count: number,
  seed: number,
): Resamples {
  const problems = [...groupBy(names.keys(), (i) => names[i]!).values()];
  const problemOf = new Int32Array(names.length);
  for (const [problem, cases] of problems.entries()) for (const i of cases) problemOf[i] = problem;
  const random = new Random(deriveSeed(seed, 'evaluate/bootstrap'));
  const draws = Array.from({ length: count }, () =>
    Int32Array.from(problems.flatMap(() => problems[random.integer(problems.length)]!)),
  );
  return { draws, problemOf };
}

/** The mean of all values, with an interval by the same resamples of problems. */
export function meanOver(
  perProblem: readonly (readonly number[])[],
  { draws, problemOf }: Resamples,
): Measured {
  const sums = perProblem.map((values) => values.reduce((sum, one) => sum + one, 0));
  const meanOf = (problems: Iterable<number>) => {
    let [sum, n] = [0, 0];
    for (const problem of problems) {
      sum += sums[problem]!;
      n += perProblem[problem]!.length;
    }
    return n === 0 ? Number.NaN : sum / n;
  };
  const resampled = Float64Array.from(draws, (some) => meanOf(some));
  const known = [...perProblem.keys()].filter((i) => perProblem[i]!.length > 0);
  const n = known.reduce((count, i) => count + perProblem[i]!.length, 0);
  const problems = new Set(known.map((i) => problemOf[i]!)).size;
  return { ...interval(meanOf(perProblem.keys()), resampled, problems), n };
}

/** All measures of one critic, on all problems and on each resample. */
export class Measurement {
  readonly figures: ReadonlyMap<string, Measured>;
  readonly #resampled = new Map<string, Float64Array>();
  /** With a case of the measure. */
  readonly #problems = new Map<string, number>();

  /** @param judgements of each case of `resamples` */
  constructor(judgements: readonly Judgement[], { draws, problemOf }: Resamples) {
    const everyone = Int32Array.from(judgements.keys());
    const figures = new Map<string, Measured>();
    for (const measure of measures) {
      const sums = sumsOf(measure, judgements);
      const total = added(sums, everyone);
      const value = measure.of(total);
      if (sums.width === 0 || Number.isNaN(value)) continue;
      const resampled = Float64Array.from(draws, (some) => measure.of(added(sums, some)));
      this.#resampled.set(measure.name, resampled);
      const casesOf = measure.cases ?? ((some: Float64Array) => some[0]!);
      const rows = everyone.filter((one) => casesOf(added(sums, Int32Array.of(one))) > 0);
      const problems = new Set(Array.from(rows, (row) => problemOf[row]!)).size;
      this.#problems.set(measure.name, problems);
      figures.set(measure.name, { ...interval(value, resampled, problems), n: casesOf(total) });
    }
    this.figures = figures;
  }

  /** This one's figure less the other's, problem by problem; null: one of them has none. */
  less(other: Measurement, measure: string): Figure | null {
    const [own, others] = [this.figures.get(measure), other.figures.get(measure)];
    if (!own || !others) return null;
    const [a, b] = [this.#resampled.get(measure)!, other.#resampled.get(measure)!];
    return interval(
      own.value - others.value,
      a.map((value, i) => value - b[i]!),
      Math.min(this.#problems.get(measure)!, other.#problems.get(measure)!),
    );
  }
}

function sumsOf(measure: Measure, judgements: readonly Judgement[]): Sums {
  const rows = judgements.map((judgement) => measure.sums(judgement));
  const width = Math.max(0, ...rows.map((row) => row.length));
  const perProblem = new Float64Array(width * rows.length);
  for (const [problem, row] of rows.entries()) perProblem.set(row, problem * width);
  return { width, perProblem };
}

function added({ width, perProblem }: Sums, problems: Int32Array): Float64Array {
  const total = new Float64Array(width);
  for (const problem of problems)
    for (let i = 0; i < width; i++) total[i] = total[i]! + perProblem[problem * width + i]!;
  return total;
}

/** Resamples that don't tell (no such case was drawn) are left out. */
function interval(value: number, resampled: Float64Array, problems: number): Figure {
  if (problems < 2) return { value, low: Number.NaN, high: Number.NaN };
  const known = resampled.filter((one) => !Number.isNaN(one)).sort();
  const at = (share: number) => known[Math.round(share * (known.length - 1))] ?? Number.NaN;
  return { value, low: at(0.025), high: at(0.975) };
}
