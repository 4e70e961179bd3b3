/**
 * The life of a run: workers, models, stages, folder, events; from its beginning or from a
 * checkpoint.
 */
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import { ConfigError } from '../config/error.ts';
import { refuseForCritic } from '../config/for-critic.ts';
import type { Config, StageName } from '../config/schema.ts';
import type { CriticPlugin } from '../critic.ts';
import { withParts } from '../extensions/critic-parts.ts';
import { loadCritic, loadTask, type PluginChoice } from '../extensions/find-plugin.ts';
import { linkFolder } from '../files/file-list.ts';
import { bestCriticFolder, type StageState, type Training } from '../iteration/context.ts';
import { noExactValues } from '../iteration/exact-values.ts';
import { withColumns } from '../rewards/columns.ts';
import { leftOut, refuseTracesOfAnotherReward, underRewards } from '../rewards/replaced.ts';
import { makeReward } from '../rewards/reward.ts';
import { type Checkpoint, readCheckpoint } from '../run-folder/checkpoint.ts';
import type { EventStream, RunEvent, SettingChange } from '../run-folder/events.ts';
import { type RunFolder, refuseOtherKinds } from '../run-folder/folder.ts';
import { lockRun } from '../run-folder/lock.ts';
import { type Loggers, openLoggers } from '../run-folder/loggers.ts';
import { StatusFile } from '../run-folder/status.ts';
import { fineTuneCritic, pretrainCritic } from '../stages/critic-stages.ts';
import { apiOf, checkOracle } from '../stages/gather.ts';
import { traceSources } from '../stages/traces.ts';
import type { Task } from '../task.ts';
import { paperFormat } from '../text/critic-prompt.ts';
import { trainJointly } from '../train.ts';
import type { Problem } from '../types.ts';
import type { WorkerGroup } from '../workers/local.ts';
import { pythonFunctions, pythonWorkerName } from '../workers/python-functions.ts';
import { startConfigured, workersOf, workersOfCritic } from './configured-workers.ts';
import { type Controlled, serveControl } from './control.ts';
import { prepareTraining, restoreModels } from './load-models.ts';
import { checkPast } from './past-settings.ts';
import { Steering } from './steering.ts';

const stages: Readonly<
  Record<StageName, (training: Training, start: StageState) => Promise<StageState>>
> = {
  'critic-sft': fineTuneCritic,
  'critic-rl': pretrainCritic,
  joint: trainJointly,
};

/** What a run starts from: a config, and the checkpoint if it is resumed. */
export interface RunSource {
  readonly config: Config;
  readonly base: string;
  /** null: from the beginning. */
  readonly checkpoint: Checkpoint | null;
  /** Settings that were changed before the resume. */
  readonly past: readonly SettingChange[];
  open(): Promise<RunFolder>;
  /** Messages to the user before the run continues. */
  readonly notes: readonly string[];
}

export interface RunHandles {
  readonly events: EventStream;
  readonly signal: AbortSignal;
  readonly workers: WorkerGroup | undefined;
  readonly ready: (steering: Steering) => void;
  readonly run: () => Controlled;
}

export async function runLifecycle(
  source: RunSource,
  { events, signal, workers: running, ready, run }: RunHandles,
): Promise<'done' | 'stopped'> {
  const { config, base, checkpoint } = source;
  const log = (text: string) => events.push({ type: 'message', text });
  let group: WorkerGroup | null = running ?? null;
  const python = pythonFunctions(() => {
    if (group) return group.get(pythonWorkerName);
    throw new Error('Python functions can be called once the workers run, not before');
  });
  const { task: given, usesPython } = await loadTask(config.task as PluginChoice, {
    ...{ base, python, log, segmentation: config.credit.segmentation },
  });
  refuseTracesOfAnotherReward(config, given, checkpoint);
  const task = underRewards(given, config);
  const { plugin, options: criticOptions } = await loadCritic(config.critic as PluginChoice, base);
  refuseForCritic(config, plugin);
  checkPast(source.past, config, plugin);
  const { rewardOf, ...rewards } = await makeReward(config, task, base, python);
  const wanted = workersOf(
    config,
    await workersOfCritic({ plugin, options: criticOptions }, base),
    usesPython || rewards.usesPython || config.log.length > 0,
  );
  if (config.stages.includes('critic-sft')) checkTraces(config, task); // report a bad trace file before any worker starts
  checkActor(config, task);
  for (const { plugin: one } of await withParts({ plugin, options: criticOptions }, base)) {
    checkContinues(config, one, task);
    const missing = one.exact ? noExactValues(task, config) : null;
    if (missing !== null)
      throw new ConfigError([`critic: "${one.name}" needs exact values, but ${missing}`]);
  }
  const from = config.start_from ? await readCheckpoint(resolve(config.start_from)) : null;
  refuseOtherKinds(config.folder);
  const lock = await lockRun(config.folder);
  const folder = await source.open().catch((error: unknown) => {
    lock.release();
    throw error;
  });
  const status = new StatusFile(folder.path);
  const emit = (event: RunEvent) => {
    folder.record(event);
    status.note(event);
    events.push(event);
  };
  const steering = new Steering({ config, plugin, signal, emit, past: source.past });
  const control = serveControl(folder.path, run(), steering);
  ready(steering);
  for (const text of [...source.notes, ...leftOut(given, config)]) emit({ type: 'message', text });
  let end: 'done' | 'stopped' | 'failed' = 'failed';
  let loggers: Loggers | null = null;
  let started = checkpoint !== null;
  const over = new AbortController();
  try {
    const workers = group ?? (await startConfigured(config.workers, wanted, folder.logs));
    group = workers;
    const versions = workers.all.map((worker) => [worker.name, worker.ready.versions]);
    await folder.writeVersions({
      genac: packageJson.version,
      node: process.version,
      platform: `${process.platform} ${process.arch}`,
      workers: Object.fromEntries(versions),
    });
    const tell = (text: string) => emit({ type: 'message', text });
    if (config.log.length > 0) loggers = await openLoggers(config, folder.path, python, tell);
    await task.prepare?.();
    await rewards.prepare(await firstProblem(config, task));
    const parts = {
      base,
      config,
      task,
      rewardOf,
      plugin,
      criticOptions,
      from,
      folder,
      workers,
      emit,
      signal,
      over: over.signal,
      steering,
    };
    const training = await prepareTraining(parts);
    steering.steers(training.critic);
    if (checkpoint) await restore(training, checkpoint);
    started = true;
    await runStages(training, checkpoint, from?.success_rate ?? null);
    await training.critic.close?.();
    end = signal.aborted ? 'stopped' : 'done';
  } catch (error) {
    // Stopped while a model was being made: there is nothing to keep.
    if (error !== signal.reason || !signal.aborted) throw folder.explained(error);
    end = 'stopped';
  } finally {
    over.abort(new Error('the run is over'));
    steering.end();
    control.close();
    await loggers?.close();
    if (!running) await group?.close();
    status.close(end);
    if (end === 'failed' && !started) await folder.takeBack();
    lock.release();
  }
  emit({ type: 'end', reason: end });
  return end;
}

function checkTraces(config: Config, task: Task): void {
  const api = apiOf(config);
  if (api) checkOracle(api, config, task);
  else traceSources(config, task, task.criticFormat ?? paperFormat);
}

/** Stages 1 and 2 need rollouts to measure the critic on. @throws ConfigError */
function checkActor({ actor, stages, rewards }: Config, task: Task): void {
  if (actor !== null) return;
  const needed = stages.filter(
    (stage) =>
      (stage === 'critic-sft' && !task.referenceStates && !task.frozenRollouts) ||
      (stage === 'critic-rl' && !task.frozenRollouts),
  );
  if (needed.length === 0) return;
  throw new ConfigError([
    `actor: ${needed.join(' and ')} ${needed.length > 1 ? 'need' : 'needs'} one, for the ` +
      `task "${task.name}" brings no rollouts of its own` +
      `${rewards.length > 0 ? ' for these `rewards`' : ''}: name its model`,
  ]);
}

/** Rollouts that a task brings have no token ids to continue. @throws ConfigError */
function checkContinues({ stages }: Config, { name, continues }: CriticPlugin, task: Task): void {
  const alone = stages.filter((stage) => stage !== 'joint');
  if (!continues || alone.length === 0 || (!task.frozenRollouts && !task.referenceStates)) return;
  throw new ConfigError([
    `stages: the critic "${name}" lets the actor continue responses, and the task "${task.name}" ` +
      `brings texts of other actors for ${alone.join(' and ')}: leave ${alone.join(' and ')} out`,
  ]);
}

/** What rewards are checked against; null: the actor samples nothing. */
async function firstProblem({ actor, seed, rewards }: Config, task: Task): Promise<Problem | null> {
  if (actor === null || rewards.length === 0) return null;
  const [problem] = await task.problems('train', seed, 0, 1);
  return problem ? withColumns(problem) : null;
}

/** Restores the models and the best critic of a checkpoint. */
async function restore(training: Training, checkpoint: Checkpoint): Promise<void> {
  const { stage, iteration, complete, path } = checkpoint;
  await restoreModels(training, checkpoint);
  if (checkpoint.bestCritic) {
    const best = bestCriticFolder(training.folder);
    await rm(best, { recursive: true, force: true });
    await linkFolder(checkpoint.bestCritic, best);
  }
  const at = complete ? `the end of ${stage}` : `${stage}, iteration ${iteration}`;
  training.emit({ type: 'message', text: `resumed from ${path} (${at})` });
}

async function runStages(
  training: Training,
  checkpoint: Checkpoint | null,
  known: number | null,
): Promise<void> {
  const { stages: names } = training.config;
  const within = checkpoint !== null && !checkpoint.complete;
  const first = checkpoint === null ? 0 : names.indexOf(checkpoint.stage) + (within ? 0 : 1);
  let successRate = checkpoint ? checkpoint.success_rate : known;
  for (const [i, stage] of names.entries()) {
    if (i < first || training.stopping()) continue;
    const goesOn = within && i === first;
    const iteration = goesOn ? checkpoint.iteration : 0;
    const progress = goesOn ? checkpoint.progress : {};
    if (i === first) training.steering.catchUp({ stage, iteration });
    ({ successRate } = await stages[stage](training, { stage, iteration, successRate, progress }));
  }
}
