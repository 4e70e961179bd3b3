/**
 * What critics are worth: all of them on the same states, against the best reference values that
 * there are, with intervals over problems and paired comparisons.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import { pathFrom } from '../files/paths.ts';
import { refuseNoFile, refuseNoFolder } from '../files/text-file.ts';
import { startConfigured, workersOf, workersOfCritic } from '../run/configured-workers.ts';
import { lockRun } from '../run-folder/lock.ts';
import type { WorkerGroup } from '../workers/local.ts';
import { type Figure, Measurement, meanOver, resamplesOf } from './bootstrap.ts';
import { type Collected, collect } from './collect.ts';
import { checkEvaluation, distributionsOf, type EvaluationInput } from './config.ts';
import type { Cost } from './cost.ts';
import { type NamedCritic, nameCritic, refuseUnservable } from './critics.ts';
import { floorsOf } from './floors.ts';
import { type Ground, prepareGround, type Tools } from './ground.ts';
import { BINS, binOf, type Judgement, measures } from './measures.ts';
import { evaluationPage } from './page.ts';
import type { CriticResult, DistributionResult, EvaluationResult } from './result.ts';
import { figuresCsv } from './tables.ts';
import { trainedTokens } from './trained.ts';
import { judgementsOf, valuesOfCritic } from './values.ts';

export interface EvaluationOptions {
  /** Folder that a user's own files are relative to. Default: the working directory. */
  readonly base?: string;
  /** Workers that are running already; they are left running. */
  readonly workers?: WorkerGroup;
  /** Aborting ends it; what was sampled and valued is kept, and the next call goes on. */
  readonly signal?: AbortSignal;
  /** One line of progress. */
  readonly log?: (text: string) => void;
  /** Allows code and keys that the config of somebody else's run names. */
  readonly trustCode?: boolean;
}

/**
 * Evaluates critics, and writes `evaluation.json`, `figures.csv` and `index.html` into the
 * folder. What was sampled and valued before with the same options is not made again.
 *
 * @throws ConfigError for options that are not valid
 */
export async function evaluate(
  input: EvaluationInput,
  { base = '.', workers: given, signal, log = () => {}, trustCode = false }: EvaluationOptions = {},
): Promise<EvaluationResult> {
  const config = checkEvaluation(input);
  const folder = pathFrom('.', config.folder);
  refuseOthersFiles(folder);
  let group: WorkerGroup | null = given ?? null;
  const tools: Tools = {
    ...{ base: resolve(base), folder, log },
    signal: signal ?? new AbortController().signal,
    workers() {
      if (group) return group;
      throw new Error('models can be loaded once the workers run, not before');
    },
  };
  const grounds = new Map<string, Ground>();
  for (const [name, options] of distributionsOf(config))
    grounds.set(name, await prepareGround(options, tools));
  for (const note of new Set([...grounds.values()].flatMap(({ notes }) => notes))) log(note);
  const critics: NamedCritic[] = [];
  for (const [name, entry] of Object.entries(config.critics))
    critics.push(await nameCritic(name, entry, tools.base, trustCode));
  for (const ground of grounds.values())
    for (const critic of critics) await refuseUnservable(critic, ground);
  const wanted = await workersWanted(config, [...grounds.values()], critics);
  const lock = await lockRun(folder, 'wait for that evaluation, or name another folder');
  try {
    await mkdir(join(folder, 'logs'), { recursive: true });
    group ??= await startConfigured(config.workers, wanted, join(folder, 'logs'));
    const resultOf = async (name: string, ground: Ground) => {
      const collected = await collect(name, ground, tools);
      return measured(name, ground, collected, critics, config, tools);
    };
    const distributions: Record<string, DistributionResult> = {};
    for (const [name, ground] of grounds) distributions[name] = await resultOf(name, ground);
    const result: EvaluationResult = {
      ...{ genac: packageJson.version, folder, seed: config.seed, bootstrap: config.bootstrap },
      measures: Object.fromEntries(measures.map(({ name, words }) => [name, words])),
      trained_tokens: Object.fromEntries(
        critics.flatMap(({ name, run }) => (run === null ? [] : [[name, trainedTokens(run)]])),
      ),
      distributions,
    };
    await writeFile(join(folder, 'evaluation.json'), `${JSON.stringify(result, null, 2)}\n`);
    await writeFile(join(folder, 'figures.csv'), figuresCsv(result));
    await writeFile(join(folder, 'index.html'), evaluationPage(result));
    return result;
  } finally {
    if (!given) await group?.close();
    lock.release();
  }
}

/** Before hours of work, not behind them: what lies in the place of a file or a folder. */
function refuseOthersFiles(folder: string): void {
  for (const name of ['', 'logs', 'models', 'states', 'values']) refuseNoFolder(join(folder, name));
  for (const name of ['evaluation.json', 'figures.csv', 'index.html', 'run.lock'])
    refuseNoFile(join(folder, name));
}

async function workersWanted(
  { workers }: ReturnType<typeof checkEvaluation>,
  grounds: readonly Ground[],
  critics: readonly NamedCritic[],
): Promise<string[]> {
  const ofCritics = await Promise.all(critics.map((one) => workersOfCritic(one, one.base)));
  // A run's own worker is not one of the evaluation's.
  const known = ofCritics.flat().map((name) => (name in workers ? name : 'critic'));
  const ofActors = grounds.map(({ options: { actor } }) =>
    workersOf(
      { actor: actor as never, workers },
      known,
      grounds.some((one) => one.usesPython),
    ),
  );
  return [...new Set(ofActors.flat())];
}

async function measured(
  name: string,
  ground: Ground,
  collected: Collected,
  critics: readonly NamedCritic[],
  {
    bootstrap,
    seed,
    greedy,
  }: Pick<ReturnType<typeof checkEvaluation>, 'bootstrap' | 'seed' | 'greedy'>,
  tools: Tools,
): Promise<DistributionResult> {
  const { problems } = collected;
  const names = problems.map(({ problem }) => problem.id);
  const resamples = resamplesOf(names, bootstrap, seed);
  const results: Record<string, CriticResult> = {};
  let first: Measurement | null = null;
  let last: readonly Judgement[] = [];
  const add = (as: string, judgements: readonly Judgement[], cost: Cost | null) => {
    const measurement = new Measurement(judgements, resamples);
    results[as] = { ...resultOf(measurement, first, judgements), cost };
    first ??= measurement;
  };
  for (const critic of critics) {
    const { problems: valued, cost } = await valuesOfCritic(
      ...([critic, collected, ground, { name, greedy }, tools] as const),
    );
    last = judgementsOf(collected, valued);
    add(critic.name, last, cost);
  }
  for (const [floor, judgements] of Object.entries(floorsOf(last, problems, ground.task)))
    add(`(${floor})`, judgements, null);
  const success = meanOver(
    problems.map(({ responses }) => responses.map(({ reward }) => reward)),
    resamples,
  );
  return {
    references: ground.references,
    problems: new Set(names).size,
    states: problems.reduce((sum, { states }) => sum + states.length, 0),
    responses: success.n,
    ...{ success: success.value, success_measured: success },
    critics: results,
  };
}

function resultOf(
  measurement: Measurement,
  first: Measurement | null,
  judgements: readonly Judgement[],
): Omit<CriticResult, 'cost'> {
  const { figures } = measurement;
  const against: Record<string, Figure> = {};
  for (const measure of first ? figures.keys() : []) {
    const difference = measurement.less(first!, measure);
    if (difference) against[measure] = difference;
  }
  return {
    figures: Object.fromEntries(figures),
    ...(first && { against }),
    calibration: calibrationOf(judgements),
    by_state: byState(judgements),
  };
}

function calibrationOf(judgements: readonly Judgement[]): CriticResult['calibration'] {
  const bins = Array.from({ length: BINS }, () => ({ n: 0, value: 0, reference: 0 }));
  for (const { value, reference } of judgements.flatMap(({ states }) => states)) {
    const bin = bins[binOf(value)]!;
    bin.n++;
    bin.value += value;
    bin.reference += reference.mean;
  }
  return bins.flatMap(({ n, value, reference }, score) =>
    n === 0 ? [] : [{ score, value: value / n, reference: reference / n, n }],
  );
}

function byState(judgements: readonly Judgement[]): CriticResult['by_state'] {
  const { sums, of } = measures.find(({ name }) => name === 'mse')!;
  const all = judgements.flatMap(({ states }) => states);
  const numbers = [...new Set(all.map(({ index }) => index))].sort((a, b) => a - b);
  return numbers.flatMap((k) => {
    const states = all.filter(({ index }) => index === k);
    const mse = of(Float64Array.from(sums({ states, candidates: [] })));
    return Number.isNaN(mse) ? [] : [{ k, mse, n: states.length }];
  });
}
