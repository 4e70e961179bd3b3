/** What a table is: parts that make its figures, and what the paper says of them. */
import type { Measured } from '../comparison/bootstrap.ts';
import type { DistributionResult } from '../comparison/result.ts';
import { mean, sampleDeviation, studentQuantile } from '../math/statistics.ts';
import type { Plot } from '../reports/report-plots.ts';
import type { Part, Results } from './parts.ts';
import type { Setup } from './setup.ts';

export interface Row {
  readonly name: string;
  /** By column; null: there is no such figure. */
  readonly cells: readonly (Measured | null)[];
}

/** One block of a table. */
export interface Block {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
  /** Digits behind the point. */
  readonly digits: number;
}

export interface Verdict {
  /** One sentence with figures. */
  readonly seen: string;
  /** null: what was measured can't say. */
  readonly agrees: 'yes' | 'in part' | 'no' | null;
}

export interface Table {
  readonly number: number;
  readonly title: string;
  /** What the paper says, in one sentence. */
  readonly paper: string;
  /** How the figures were made, a sentence for each. */
  notes(setup: Setup): readonly string[];
  /** Where the miniature may disagree: the most likely reason. */
  readonly reason: string;
  /** It is made of models and words of the miniature, and of no other task. */
  readonly ofMiniature?: true;
  parts(setup: Setup, seed: number): readonly Part[];
  /** Of one seed. All seeds have the same blocks and columns. */
  blocks(setup: Setup, seed: number, results: Results): readonly Block[];
  verdict(blocks: readonly Block[]): Verdict;
  /** Of one seed, for a picture beside the blocks. All seeds have the same plots and series. */
  plots?(setup: Setup, seed: number, results: Results): readonly Plot[];
}

/** Two seeds say next to nothing of others: Student's t would be 12.7 standard errors. */
const LEAST_SEEDS = 3;

/**
 * The blocks of several seeds as one: each figure is the mean of the seeds' figures, its interval
 * Student's t over seeds, and its n the sum; two seeds have none. One seed's figures stay as they
 * are, with intervals over problems. A figure that a seed lacks is absent. Rows are matched by
 * name: a seed without pools of responses ranks no critic.
 */
export function overSeeds(all: readonly (readonly Block[])[]): Block[] {
  const [first, ...others] = all;
  if (others.length === 0) return [...first!];
  return first!.map((block, b) => ({
    ...block,
    rows: namesIn(all.map((blocks) => blocks[b]!)).map((name) => {
      const own = all.map((blocks) => blocks[b]!.rows.find((row) => row.name === name));
      return {
        name,
        cells: block.columns.map((_, c) => {
          const cells = own.flatMap((row) => row?.cells[c] ?? []);
          return cells.length < all.length ? null : meanOf(cells);
        }),
      };
    }),
  }));
}

/** In the order of the block that has most. */
const namesIn = (blocks: readonly Block[]) => {
  const longest = [...blocks].sort((a, b) => b.rows.length - a.rows.length);
  return [...new Set(longest.flatMap(({ rows }) => rows.map(({ name }) => name)))];
};

function meanOf(cells: readonly Measured[]): Measured {
  const values = cells.map(({ value }) => value);
  const value = mean(values);
  const n = cells.reduce((sum, cell) => sum + cell.n, 0);
  // What is the same for all seeds is no sample of them, such as a sweep's.
  const same = values.every((one) => one === values[0]);
  if (same || values.length < LEAST_SEEDS) return { value, low: Number.NaN, high: Number.NaN, n };
  const error = sampleDeviation(values) / Math.sqrt(values.length);
  const half = studentQuantile(values.length - 1) * error;
  return { value, low: value - half, high: value + half, n };
}

/** Points of several seeds as their means, in their order; as many as every seed has. */
export function plotsOverSeeds(all: readonly (readonly Plot[])[]): Plot[] {
  const [first] = all;
  return (first ?? []).map((plot, p) => ({
    ...plot,
    series: plot.series.map((series, s) => {
      const own = all.map((plots) => plots[p]!.series[s]!.points);
      const count = Math.min(...own.map((points) => points.length));
      const at = (i: number, axis: 0 | 1) => mean(own.map((points) => points[i]![axis]));
      return {
        ...series,
        points: Array.from({ length: count }, (_, i) => [at(i, 0), at(i, 1)] as const),
      };
    }),
  }));
}

/** A note on seconds. */
export const ONE_CORE = 'Seconds are of one core of this machine while the other one worked too.';

/** A figure without an interval, such as a count of tokens. */
export const plain = (value: number | undefined, n = 1): Measured | null =>
  value === undefined || Number.isNaN(value)
    ? null
    : { value, low: Number.NaN, high: Number.NaN, n };

/** Figures of all critics of a distribution, floors among them. */
export function figuresOf(
  { critics }: DistributionResult,
  measures: Readonly<Record<string, string>>,
): Pick<Block, 'columns' | 'rows'> {
  return {
    columns: Object.values(measures),
    rows: Object.entries(critics).map(([name, { figures }]) => ({
      name,
      cells: Object.keys(measures).map((measure) => figures[measure] ?? null),
    })),
  };
}

/** The value in a row and a column; NaN: there is none. */
export function valueIn(block: Block, row: string, column: number): number {
  return block.rows.find(({ name }) => name === row)?.cells[column]?.value ?? Number.NaN;
}
