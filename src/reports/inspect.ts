/** The content of `genac inspect`: a table of the iterations, and the selected responses. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type MetricsLine,
  metric,
  metricsOf,
  type RecordedTrajectory,
  trajectoriesOf,
} from '../run-folder/read.ts';
import { UserError } from '../user-error.ts';
import { shortened } from './shortened.ts';

export type Order = 'best' | 'worst' | 'surprising';

export interface InspectOptions {
  /** For responses, an iteration of stage 3; for the table, this iteration of every stage. */
  readonly iteration?: number;
  /** Default: as recorded, the newest last. */
  readonly order?: Order;
  /** Only responses with a state for which the critic wrote no valid score. */
  readonly malformed?: boolean;
  readonly count: number;
}

export interface Inspection {
  readonly folder: string;
  /** Header and rows, as text. */
  readonly table: readonly (readonly string[])[];
  /** What the table leaves out, and why there are no responses; one sentence each. */
  readonly notes: readonly string[];
  readonly trajectories: readonly RecordedTrajectory[];
}

const columns: Readonly<Record<string, string>> = {
  reward: 'reward',
  'actor/success_rate': 'success rate',
  'evaluation/success': 'held-out success',
  'critic/heldout_mse': 'critic mse',
  'critic/explained_variance': 'explained variance',
  'critic/parse_rate': 'parse rate',
  'critic/malformed_states': 'malformed states',
};

const ROWS = 24;

/** Reads a run's folder, also during the run. */
export function inspectRun(folder: string, options: InspectOptions): Inspection {
  if (!existsSync(join(folder, 'config.yaml')))
    throw new UserError(`${folder} holds no run (it has no config.yaml): name the folder of one`);
  const { table, notes } = iterationTable(metricsOf(folder), options.iteration);
  let recorded = 0;
  const counted = function* () {
    for (const trajectory of trajectoriesOf(folder)) {
      recorded++;
      yield trajectory;
    }
  };
  const trajectories = shortened(choose(counted(), options));
  if (recorded === 0) {
    notes.push(
      'There are no trajectories: stage 3 records them (sampling.record), and has recorded ' +
        'none here.',
    );
  } else if (trajectories.length === 0) {
    notes.push(`None of the ${recorded} recorded trajectories is as asked for.`);
  }
  return { folder, table, notes, trajectories };
}

/** The value of the last state; null if a response has no segment. */
export const lastValue = ({ segments }: RecordedTrajectory): number | null =>
  segments.at(-1)?.value ?? null;

const surprise = (t: RecordedTrajectory) => {
  const value = lastValue(t);
  return value === null ? -1 : Math.abs(t.reward - value);
};

/** Equal responses keep the order of recording. Memory holds at most about twice `count`. */
export function choose(
  all: Iterable<RecordedTrajectory>,
  { iteration, order, malformed = false, count }: InspectOptions,
): RecordedTrajectory[] {
  const worth = (a: RecordedTrajectory, b: RecordedTrajectory) =>
    a.reward - b.reward || (lastValue(a) ?? -1) - (lastValue(b) ?? -1);
  const orders = {
    best: (a, b) => worth(b, a),
    worst: worth,
    surprising: (a, b) => surprise(b) - surprise(a),
  } satisfies Record<Order, typeof worth>;
  const first = (some: RecordedTrajectory[]) =>
    order ? some.sort(orders[order]).slice(0, count) : count > 0 ? some.slice(-count) : [];
  let chosen: RecordedTrajectory[] = [];
  for (const t of all) {
    if (iteration !== undefined && t.iteration !== iteration) continue;
    if (malformed && !t.segments.some((s) => s.parsed === 'malformed')) continue;
    chosen.push(t);
    if (chosen.length > 2 * count) chosen = first(chosen);
  }
  return first(chosen);
}

/**
 * Returns one row an iteration: its own figures, and the held-out ones from before it. If there are
 * many, returns those with held-out figures (an even selection of too many), and of the others.
 */
export function iterationTable(
  lines: Iterable<MetricsLine>,
  iteration?: number,
): { table: string[][]; notes: string[] } {
  const rows = new Map<string, MetricsLine>();
  for (const line of lines) {
    if (iteration !== undefined && line.iteration !== iteration) continue;
    const key = `${line.stage} ${line.iteration}`;
    const before = rows.get(key);
    const own = shownOf(line);
    // An iteration's own figures take precedence, whichever line came first.
    rows.set(key, line.type === 'iteration' ? { ...before, ...own } : { ...own, ...before });
  }
  const all = [...rows.values()];
  if (all.length === 0)
    return { table: [], notes: ['No iteration is recorded that was asked for.'] };
  const shown = thinned(all);
  const present = Object.keys(columns).filter((name) =>
    shown.some((row) => metric(row, name) !== null),
  );
  const table = [
    ['stage', 'iteration', ...present.map((name) => columns[name]!)],
    ...shown.map((row) => [
      row.stage,
      String(row.iteration),
      ...present.map((name) => cellText(name, metric(row, name))),
    ]),
  ];
  const left = all.length - shown.length;
  return { table, notes: left > 0 ? [`${left} more iterations are in metrics.jsonl.`] : [] };
}

/** A line with only the metrics that a column shows. */
function shownOf(line: MetricsLine): MetricsLine {
  const { type, stage, iteration, seconds } = line;
  const shown = Object.keys(columns).flatMap((name) => (name in line ? [[name, line[name]]] : []));
  return { type, stage, iteration, seconds, ...Object.fromEntries(shown) };
}

function thinned(rows: readonly MetricsLine[]): MetricsLine[] {
  if (rows.length <= ROWS) return [...rows];
  const evaluated = rows.filter(
    (row) =>
      metric(row, 'evaluation/success') !== null || metric(row, 'critic/heldout_mse') !== null,
  );
  const kept = new Set(evenly(evaluated, ROWS - 1));
  for (const row of evenly(
    rows.filter((row) => !kept.has(row)),
    ROWS - 1 - kept.size,
  ))
    kept.add(row);
  return rows.filter((row, i) => kept.has(row) || i === rows.length - 1);
}

function evenly<T>(items: readonly T[], most: number): T[] {
  const step = Math.max(1, items.length / most);
  return Array.from(
    { length: Math.min(items.length, most) },
    (_, i) => items[Math.floor(i * step)]!,
  );
}

/** Counts have no decimals. */
const cellText = (name: string, value: number | null): string =>
  value === null ? '' : value.toFixed(name === 'critic/malformed_states' ? 0 : 3);
