/** A run, from a config to its end: workers, models, stages, folder, events. */
import { resolve } from 'node:path';
import packageJson from '../package.json' with { type: 'json' };
import type { Config, ConfigInput, StageName } from './config.ts';
import { ConfigError } from './config-error.ts';
import { checkConfig } from './load-config.ts';
import { loadCritic, loadTask, type PluginChoice } from './plugins.ts';
import { prepareTraining } from './prepare.ts';
import { pythonFunctions, pythonWorkerName, pythonWorkerSpec } from './python-functions.ts';
import { makeJudge } from './rewards.ts';
import { readCheckpoint } from './runs/checkpoint.ts';
import { EventStream, type RunEvent } from './runs/events.ts';
import { RunFolder } from './runs/folder.ts';
import { paperFormat } from './text/critic-prompt.ts';
import { traceSources } from './traces.ts';
import { pretrainCritic, superviseCritic, trainJointly } from './train.ts';
import type { Standing, Training } from './training.ts';
import { startWorkers, type WorkerGroup } from './workers/local.ts';

const stages: Readonly<Record<StageName, (training: Training, start: Standing) => Promise<Standing>>> = {
  'critic-sft': superviseCritic,
  'critic-rl': pretrainCritic,
  joint: trainJointly,
};

export interface Run extends AsyncIterable<RunEvent> {
  /** Where it is written. */
  readonly folder: string;
  /** Ends the run after the iteration in hand, with a checkpoint. Resolves when all is closed. */
  stop(): Promise<void>;
  /** Resolves at the end (`done` or `stopped`); rejects with what went wrong. */
  readonly finished: Promise<'done' | 'stopped'>;
}

export interface RunOptions {
  /** Folder that a user's own task and critic files are relative to: that of the config file. Default: the working directory. */
  readonly base?: string;
  /** Workers that are running already; they are left running. */
  readonly workers?: WorkerGroup;
}

/**
 * Starts a run. Iterate it for typed events; `stop()` ends it cleanly. A bad config throws at once; what goes wrong later rejects `finished` and ends the
 * iteration with the same error.
 */
export function startRun(input: ConfigInput, options: RunOptions = {}): Run {
  const config = checkConfig(input);
  const events = new EventStream();
  const stopping = new AbortController();
  const finished = go(config, options, events, stopping.signal);
  finished.then(
    () => events.close(),
    (error) => events.close(error),
  );
  return {
    folder: resolve(config.folder),
    finished,
    async stop() {
      stopping.abort();
      await finished.catch(() => {});
    },
    [Symbol.asyncIterator]: () => events[Symbol.asyncIterator](),
  };
}

async function go(
  config: Config,
  options: RunOptions,
  events: EventStream,
  signal: AbortSignal,
): Promise<'done' | 'stopped'> {
  const began = performance.now();
  const base = options.base ?? process.cwd();
  const log = (text: string) => events.push({ type: 'message', text });
  let group: WorkerGroup | null = options.workers ?? null;
  const python = pythonFunctions(() => {
    if (group) return group.get(pythonWorkerName);
    throw new Error('Python functions can be called once the workers run, not before');
  });
  const { task, usesPython } = await loadTask(config.task as PluginChoice, { base, python, log });
  const { plugin, options: criticOptions } = await loadCritic(config.critic as PluginChoice, base);
  const { judge, ...rewards } = await makeJudge(config, task, base, python);
  const wanted = workersOf(config, criticOptions, usesPython || rewards.usesPython);
  if (config.stages.includes('critic-sft')) traceSources(config, task, task.criticFormat ?? paperFormat); // a bad file is told of now
  const from = config.start_from ? await readCheckpoint(resolve(config.start_from)) : null;
  const folder = await RunFolder.create(config);
  const emit = (event: RunEvent) => {
    folder.record(event, (performance.now() - began) / 1000);
    events.push(event);
  };
  const workers = group ?? (await start(config, wanted, folder));
  group = workers;
  try {
    const versions = workers.all.map((worker) => [worker.name, worker.ready.versions]);
    await folder.writeVersions({
      genac: packageJson.version,
      node: process.version,
      platform: `${process.platform} ${process.arch}`,
      workers: Object.fromEntries(versions),
    });
    await task.prepare?.();
    await rewards.prepare();
    const parts = { config, task, judge, plugin, criticOptions, from, folder, workers, emit, signal };
    const training = await prepareTraining(parts);
    let standing: Standing = {
      stage: config.stages[0]!,
      iteration: 0,
      successRate: from?.success_rate ?? null,
    };
    for (const stage of config.stages) {
      if (!signal.aborted) standing = await stages[stage](training, standing);
    }
    await training.critic.close?.();
  } catch (error) {
    // Stopped while a model was being made: there is nothing to keep.
    if (error !== signal.reason || !signal.aborted) throw error;
  } finally {
    if (!options.workers) await workers.close();
  }
  const reason = signal.aborted ? 'stopped' : 'done';
  emit({ type: 'end', reason });
  return reason;
}

/** Names of the workers that the actor and the critic ask for, and `python` where functions are called. */
function workersOf({ actor, workers }: Config, criticOptions: unknown, usesPython: boolean): string[] {
  const critic = (criticOptions as { worker?: unknown } | null)?.worker;
  const python = usesPython ? pythonWorkerName : null;
  const wanted = [...new Set([actor?.worker, critic, python])].filter((name) => typeof name === 'string');
  const missing = wanted.filter((name) => !(name in workers));
  const names = Object.keys(workers).join(', ');
  if (missing.length > 0)
    throw new ConfigError(missing.map((name) => `workers: has no "${name}" (it has ${names})`));
  // `actor`, `critic` and `python` are there by default; any other was asked for.
  if ([actor?.worker, critic].includes(pythonWorkerName)) {
    throw new ConfigError([
      `workers: "${pythonWorkerName}" serves functions and holds no models; name another`,
    ]);
  }
  const idle = Object.keys(workers).filter(
    (name) => !wanted.includes(name) && !['actor', 'critic', pythonWorkerName].includes(name),
  );
  if (idle.length > 0)
    throw new ConfigError(idle.map((name) => `workers.${name}: has no effect, for no model names it`));
  return wanted;
}

function start(config: Config, names: readonly string[], folder: RunFolder): Promise<WorkerGroup> {
  return startWorkers({
    workers: names.map((name) => {
      const { devices, threads } = config.workers[name]!;
      const kind = name === pythonWorkerName ? pythonWorkerSpec : { name };
      return { ...kind, ...(devices !== null && { device: devices }), ...(threads !== null && { threads }) };
    }),
    logDirectory: folder.logs,
  });
}
