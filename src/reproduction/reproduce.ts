/** The paper's tables from nothing: all parts that they need, each once, and the report. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import { pathFrom } from '../files/paths.ts';
import { lockRun } from '../run-folder/lock.ts';
import { UserError } from '../user-error.ts';
import { startWorkers } from '../workers/local.ts';
import { runParts } from './parts.ts';
import { type Reproduction, writeReproduction } from './report.ts';
import { MOST_SEEDS } from './seeds.ts';
import { setupOf } from './setup.ts';
import { overSeeds, plotsOverSeeds, type Table } from './table.ts';
import { expressiveness } from './tables/1-expressiveness.ts';
import { ranking } from './tables/2-ranking.ts';
import { shift } from './tables/3-shift.ts';
import { rl } from './tables/4-rl.ts';
import { cost } from './tables/5-cost.ts';
import { icc } from './tables/6-icc.ts';
import { open } from './tables/7-open.ts';

/** In the order in which they are worth their time. */
export const tables: readonly Table[] = [shift, ranking, icc, cost, rl, open, expressiveness];

/** What tables of the paper, or of a fuller comparison, have and these do not. */
const absent: Readonly<Record<number, string>> = {
  1: 'critics of more than some hundred thousand parameters',
  4: 'more than three tasks, and tasks in natural language such as those of reasoning-gym',
  6: 'a large model behind an API, in whose place the uncalibrated oracle stands',
};

export interface ReproduceOptions {
  /** Numbers of the tables, in the order in which they are made. Default: all that there are. */
  readonly tables?: readonly number[];
  /** Number of seeds, from 0 on. Default 1. */
  readonly seeds?: number;
  /** Default `runs/reproduction`. The same folder goes on with what it holds. */
  readonly folder?: string;
  /** A run's config in the place of `examples/miniature.yaml`; its task must be `miniature`. */
  readonly config?: string;
  /** The smallest size, whose figures mean nothing. */
  readonly tiny?: boolean;
  /** Aborting ends it soon; the same call goes on. */
  readonly signal?: AbortSignal;
  readonly log?: (text: string) => void;
}

/**
 * Makes the tables, and writes `index.html`, `results.md`, `figures.csv`, `results.json` and the
 * pictures `table-N.svg` into the folder. Two parts work at a time, each with a worker of one
 * thread.
 *
 * @throws UserError for a table that there is not
 */
export async function reproduce(options: ReproduceOptions = {}): Promise<Reproduction> {
  const { seeds = 1, tiny = false, log = () => {} } = options;
  const folder = pathFrom('.', options.folder ?? join('runs', 'reproduction'));
  const wanted = tablesOf(options.tables);
  if (!Number.isInteger(seeds) || seeds < 1 || seeds > MOST_SEEDS)
    throw new UserError(`seeds: expected a whole number from 1 to ${MOST_SEEDS}, not ${seeds}`);
  const setup = setupOf(options.config, tiny);
  const all = Array.from({ length: seeds }, (_, seed) => seed);
  const parts = all.flatMap((seed) => wanted.flatMap((table) => table.parts(setup, seed)));
  await mkdir(join(folder, 'logs'), { recursive: true });
  const lock = await lockRun(folder, 'wait for that reproduction, or name another folder');
  const lanes = await Promise.all(
    ['lane-1', 'lane-2'].map((lane) =>
      startWorkers({
        workers: [{ name: 'worker', threads: 1 }],
        logDirectory: join(folder, 'logs', lane),
      }),
    ),
  );
  try {
    const signal = options.signal ?? new AbortController().signal;
    const results = await runParts(parts, { folder, lanes, signal, log });
    const reproduction: Reproduction = {
      ...{ genac: packageJson.version, size: setup.size.name, seeds: all },
      tables: [...wanted].sort(byNumber).map((table) => {
        const { number, title, paper, notes, reason } = table;
        const blocks = overSeeds(all.map((seed) => table.blocks(setup, seed, results)));
        const plots = plotsOverSeeds(all.map((seed) => table.plots?.(setup, seed, results) ?? []));
        const command = commandOf(number, options);
        return {
          ...{ number, title, paper, notes, reason, blocks, plots, command },
          verdict: table.verdict(blocks),
        };
      }),
      seconds: Object.values(results.seconds).reduce((sum, one) => sum + one, 0),
      missing: missingFrom(wanted),
    };
    await writeReproduction(folder, reproduction);
    return reproduction;
  } finally {
    await Promise.all(lanes.map((workers) => workers.close()));
    lock.release();
  }
}

/** In the order in which they are asked for, each once. */
function tablesOf(numbers: readonly number[] | undefined): readonly Table[] {
  if (numbers === undefined) return tables;
  return [...new Set(numbers)].map((number) => {
    const table = tables.find((one) => one.number === number);
    if (table) return table;
    const known = tables.map((one) => one.number).sort((a, b) => a - b);
    throw new UserError(`there is no table ${number}: name some of ${known.join(', ')}`);
  });
}

const byNumber = (a: Table, b: Table) => a.number - b.number;

function commandOf(number: number, { seeds = 1, tiny, config }: ReproduceOptions): string {
  const flags = [
    `--tables ${number}`,
    ...(seeds === 1 ? [] : [`--seeds ${seeds}`]),
    ...(config === undefined ? [] : [`--config ${config}`]),
    ...(tiny ? ['--tiny'] : []),
  ];
  return `genac reproduce ${flags.join(' ')}`;
}

const missingFrom = (wanted: readonly Table[]): string[] => [
  ...[...wanted]
    .sort(byNumber)
    .flatMap(({ number }) => (number in absent ? [`Table ${number}: ${absent[number]}.`] : [])),
  ...tables
    .filter((table) => !wanted.includes(table))
    .map(({ number, title }) => `Table ${number}, ${title}: it was not asked for.`),
];
