/** The paper's tables from nothing: all parts that they need, each once, and the report. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import { loadCritic, loadTask } from '../extensions/find-plugin.ts';
import { pathFrom } from '../files/paths.ts';
import { startConfigured } from '../run/configured-workers.ts';
import { lockRun } from '../run-folder/lock.ts';
import { UserError } from '../user-error.ts';
import { startWorkers, type WorkerGroup } from '../workers/local.ts';
import { pythonFunctions, pythonWorkerSpec } from '../workers/python-functions.ts';
import { taskOf, workersOf } from './configs.ts';
import { type Family, familiesOf } from './families.ts';
import { refuseOtherCritics } from './given.ts';
import { runParts } from './parts.ts';
import { setupOf } from './read-setup.ts';
import { type Reproduction, writeReproduction } from './report.ts';
import { MOST_SEEDS } from './seeds.ts';
import type { Named, Setup } from './setup.ts';
import { type Size, sizes } from './sizes.ts';
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
function absentFrom({
  size: { name },
  given,
  largeModel,
}: Setup): Readonly<Record<number, string>> {
  if (given)
    return {
      3: 'shifts of the task that no `--shift` names',
      4: 'other tasks',
      ...(largeModel ? {} : { 6: 'a large model without training (`--large-model`)' }),
    };
  const { 6: oracle, ...others } = ofMiniature(name);
  return largeModel ? others : { ...others, 6: oracle! };
}

const ofMiniature = (name: Size['name']): Readonly<Record<number, string>> => ({
  1: [
    ...(name === 'hour' ? ['chains of 5 and the word problem of S5 (`--size full`)'] : []),
    'critics of more than some hundred thousand parameters',
  ].join('; '),
  4: [
    ...(name === 'hour' ? ['three further tasks, and a sweep of its own (`--size full`)'] : []),
    'tasks in natural language',
  ].join('; '),
  6: 'a large model without training (`--large-model`); the uncalibrated oracle is in its place',
});

export interface ReproduceOptions {
  /** Numbers of the tables, in the order in which they are made. Default: all that there are. */
  readonly tables?: readonly number[];
  /** Number of seeds, from 0 on. Default 1. */
  readonly seeds?: number;
  /** Default `runs/reproduction`. The same folder goes on with what it holds. */
  readonly folder?: string;
  /**
   * A run's config in the place of `examples/miniature.yaml`. Of another task than `miniature`
   * tables 2 to 6 are made, with the config's own actor and critic.
   */
  readonly config?: string;
  /** For such a config: files by name, beside it, to whose `task` table 3 shifts. */
  readonly shifts?: Readonly<Record<string, string>>;
  /** A critic that nobody trains, as in an evaluation, such as `{ use: 'api', ... }`: table 6. */
  readonly largeModel?: Named;
  /**
   * Default `hour`. `full` has more tasks and takes longer; the figures of `tiny` mean nothing.
   */
  readonly size?: Size['name'];
  /** Aborting ends it soon; the same call goes on. */
  readonly signal?: AbortSignal;
  readonly log?: (text: string) => void;
}

/**
 * Makes the tables, and writes `index.html`, `results.md`, `figures.csv`, `results.json` and the
 * pictures `table-N.svg` into the folder. Two parts work at a time, each with a worker of one
 * thread.
 *
 * @throws UserError for a table or a size that there is not
 */
export async function reproduce(options: ReproduceOptions = {}): Promise<Reproduction> {
  const { seeds = 1, size = 'hour', log = () => {} } = options;
  const folder = pathFrom('.', options.folder ?? join('runs', 'reproduction'));
  if (!Number.isInteger(seeds) || seeds < 1 || seeds > MOST_SEEDS)
    throw new UserError(`seeds: expected a whole number from 1 to ${MOST_SEEDS}, not ${seeds}`);
  if (!Object.hasOwn(sizes, size))
    throw new UserError(`there is no size ${size}: name one of ${Object.keys(sizes).join(', ')}`);
  const setup = {
    ...setupOf(options.config, size, options.shifts),
    ...(options.largeModel && { largeModel: options.largeModel }),
  };
  const wanted = tablesOf(setup, options.tables);
  if (setup.given) await refuseOtherCritics(setup.recipe, setup.given);
  if (setup.largeModel) await loadCritic(setup.largeModel, setup.given?.base ?? '.');
  const all = Array.from({ length: seeds }, (_, seed) => seed);
  const parts = all.flatMap((seed) => wanted.flatMap((table) => table.parts(setup, seed)));
  await mkdir(join(folder, 'logs'), { recursive: true });
  const lock = await lockRun(folder, 'wait for that reproduction, or name another folder');
  const inPython = wanted.includes(rl)
    ? familiesOf(setup).filter((family) => family.setup.usesPython)
    : [];
  const lanes = await startLanes(setup, inPython.length > 0, join(folder, 'logs'));
  try {
    for (const family of inPython) await prepare(family, lanes[0]!, log);
    const signal = options.signal ?? new AbortController().signal;
    const base = setup.given?.base ?? '.';
    const results = await runParts(parts, { folder, lanes, base, signal, log });
    const reproduction: Reproduction = {
      ...{ genac: packageJson.version, size: setup.size.name, seeds: all },
      given: setup.given !== undefined,
      tables: [...wanted].sort(byNumber).map((table) => {
        const { number, title, paper, notes, reason } = table;
        const blocks = overSeeds(all.map((seed) => table.blocks(setup, seed, results)));
        const plots = plotsOverSeeds(all.map((seed) => table.plots?.(setup, seed, results) ?? []));
        const command = commandOf(number, options);
        return {
          ...{ number, title, paper, blocks, plots, command, notes: notes(setup) },
          reason: setup.given ? null : reason,
          verdict: table.verdict(blocks),
        };
      }),
      seconds: Object.values(results.seconds).reduce((sum, one) => sum + one, 0),
      missing: missingFrom(setup, wanted),
    };
    await writeReproduction(folder, reproduction);
    return reproduction;
  } finally {
    await Promise.all(lanes.map((workers) => workers.close()));
    lock.release();
  }
}

/** Two of one core each; of given models one, with the workers that their config names. */
function startLanes(setup: Setup, python: boolean, logs: string): Promise<WorkerGroup[]> {
  if (setup.given) {
    const workers = setup.recipe.workers;
    const names = Object.keys(workersOf(setup));
    return Promise.all([startConfigured(workers, names, join(logs, 'lane-1'))]);
  }
  return Promise.all(
    ['lane-1', 'lane-2'].map((lane) =>
      startWorkers({
        workers: [{ name: 'worker', threads: 1 }, ...(python ? [pythonWorkerSpec] : [])],
        logDirectory: join(logs, lane),
      }),
    ),
  );
}

/** A package that is missing is an error now, and not after hours of work. */
async function prepare(
  { setup, steps }: Family,
  workers: WorkerGroup,
  log: (text: string) => void,
): Promise<void> {
  const python = pythonFunctions(() => workers.get(pythonWorkerSpec.name));
  const { task } = await loadTask(taskOf(setup, steps), { base: '.', python, log });
  await task.prepare?.();
}

/** In the order in which they are asked for, each once. */
function tablesOf({ given }: Setup, numbers: readonly number[] | undefined): readonly Table[] {
  const possible = tables.filter(({ ofMiniature }) => !given || !ofMiniature);
  if (numbers === undefined) return possible;
  return [...new Set(numbers)].map((number) => {
    const table = possible.find((one) => one.number === number);
    if (table) return table;
    const known = possible.map((one) => one.number).sort((a, b) => a - b);
    const where = given ? ' of a task that is not "miniature"' : '';
    throw new UserError(`there is no table ${number}${where}: name some of ${known.join(', ')}`);
  });
}

const byNumber = (a: Table, b: Table) => a.number - b.number;

function commandOf(number: number, options: ReproduceOptions): string {
  const { seeds = 1, size = 'hour', config, shifts = {}, largeModel } = options;
  const flags = [
    `--tables ${number}`,
    ...(seeds === 1 ? [] : [`--seeds ${seeds}`]),
    ...(config === undefined ? [] : [`--config ${config}`]),
    ...Object.entries(shifts).map(([name, file]) => `--shift ${name}=${file}`),
    ...(size === 'hour' ? [] : [`--size ${size}`]),
  ];
  // In YAML, as it was given.
  const asked = largeModel && number === 6 ? [`--large-model '${JSON.stringify(largeModel)}'`] : [];
  return `genac reproduce ${[...flags, ...asked].join(' ')}`;
}

function missingFrom(setup: Setup, wanted: readonly Table[]): string[] {
  const absent = absentFrom(setup);
  const whyNot = ({ ofMiniature }: Table) =>
    setup.given && ofMiniature ? 'it is of the miniature alone' : 'it was not asked for';
  return [
    ...[...wanted]
      .sort(byNumber)
      .flatMap(({ number }) => (number in absent ? [`Table ${number}: ${absent[number]}.`] : [])),
    ...tables
      .filter((table) => !wanted.includes(table))
      .map((table) => `Table ${table.number}, ${table.title}: ${whyNot(table)}.`),
  ];
}
