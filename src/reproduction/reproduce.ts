/** The paper's tables from nothing: all parts that they need, each once, and the report. */
import { existsSync, readdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import { pathFrom } from '../files/paths.ts';
import { lockRun } from '../run-folder/lock.ts';
import { UserError } from '../user-error.ts';
import { checkLargeModel, checkParts, checkTasks } from './early-checks.ts';
import { familiesOf } from './families.ts';
import { filesOf, refuseOtherCritics } from './given.ts';
import { type Lanes, startLanes } from './lanes.ts';
import { inLane, runParts } from './parts.ts';
import { setupOf } from './read-setup.ts';
import { type Reproduction, writeReproduction } from './report.ts';
import { MOST_SEEDS } from './seeds.ts';
import { baseOf, type Named, type Setup } from './setup.ts';
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
  const inHour = (words: string) => (name === 'hour' ? `${words} (\`--size full\`); ` : '');
  const oracle = '; the uncalibrated oracle is in its place';
  return {
    1:
      inHour('chains of 5 and the word problem of S5') +
      'critics of more than some hundred thousand parameters',
    4: `${inHour('three further tasks, and a sweep of its own')}tasks in natural language`,
    ...(largeModel ? {} : { 6: `a large model without training (\`--large-model\`)${oracle}` }),
  };
}

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
 * pictures `table-N.svg` into the folder. Of the embedded tasks two parts work at a time, each with
 * a worker of one thread; of a config with models of its own one, with its workers.
 *
 * @throws UserError for a table, a size or an option that can't be had; ConfigError for a config
 * that some of the runs can't be made of, before the first one
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
  refuseWithoutEffect(options, wanted);
  if (setup.given) await refuseOtherCritics(setup.recipe, setup.given);
  if (setup.largeModel) await checkLargeModel(setup, setup.largeModel);
  const all = Array.from({ length: seeds }, (_, seed) => seed);
  const parts = all.flatMap((seed) => wanted.flatMap((table) => table.parts(setup, seed)));
  const base = baseOf(setup);
  await checkParts(parts, base);
  await mkdir(join(folder, 'logs'), { recursive: true });
  const lock = await lockRun(folder, 'wait for that reproduction, or name another folder');
  const tasks = [
    ...(setup.given ? [{ setup, steps: 0 }] : []),
    ...(wanted.includes(rl) ? familiesOf(setup).filter(({ setup: own }) => own.usesPython) : []),
  ];
  let started: Lanes | null = null;
  try {
    started = await startLanes(setup, tasks.length > 0, join(folder, 'logs'));
    const { lanes } = started;
    if (tasks.length > 0)
      await inLane(lanes[0]!, async (workers) => {
        for (const one of tasks) await checkTasks(one, workers, log);
      });
    const signal = options.signal ?? new AbortController().signal;
    const results = await runParts(parts, {
      ...{ folder: partsIn(folder, setup, log), lanes, base, signal, log },
      lean: setup.given !== undefined,
    });
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
    await started?.close();
    lock.release();
  }
}

/** Of given models those of other files, such as a task's that was changed, stand apart. */
function partsIn(folder: string, setup: Setup, log: (text: string) => void): string {
  const parts = join(folder, 'parts');
  const files = filesOf(setup);
  if (files === null) return parts;
  const own = `of-${files}`;
  const all = existsSync(parts) ? readdirSync(parts).filter((name) => name.startsWith('of-')) : [];
  if (all.length > 0 && !all.includes(own))
    log('parts of other files, models or configs lie beside: these are made anew');
  return join(parts, own);
}

/** @throws UserError for an option that no wanted table reads */
function refuseWithoutEffect(options: ReproduceOptions, wanted: readonly Table[]): void {
  const { shifts = {}, largeModel } = options;
  if (Object.keys(shifts).length > 0 && !wanted.includes(shift))
    throw new UserError('--shift: has no effect without table 3');
  if (largeModel && !wanted.includes(icc))
    throw new UserError('--large-model: has no effect without table 6');
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
