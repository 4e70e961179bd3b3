/** A run, from a config to its end: workers, models, stages, folder, events. */
import { existsSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import type { Config, ConfigInput, StageName } from './config.ts';
import type { Critic } from './critic.ts';
import { checkConfig } from './load-config.ts';
import { loadCritic, loadTask, type PluginChoice } from './plugins.ts';
import { readCheckpoint } from './runs/checkpoint.ts';
import { EventStream, type RunEvent } from './runs/events.ts';
import { RunFolder } from './runs/folder.ts';
import type { Task } from './task.ts';
import { paperFormat } from './text/critic-prompt.ts';
import { pretrainCritic, superviseCritic, trainJointly } from './train.ts';
import type { Actor, Standing, Training } from './training.ts';
import { startWorkers, type WorkerGroup } from './workers/local.ts';
import { Model } from './workers/model.ts';

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
  /** Folder that paths in the config are relative to. Default: the working directory. */
  readonly base?: string;
  /** Workers that are running already; they are left running. */
  readonly workers?: WorkerGroup;
}

/** Starts a run. Iterate it for typed events; `stop()` ends it cleanly. A bad config throws at once. */
export function startRun(input: ConfigInput, options: RunOptions = {}): Run {
  const events = new EventStream();
  let stopping = false;
  const config = checkConfig(input);
  const began = performance.now();
  let folder: RunFolder | null = null;
  const emit = (event: RunEvent) => {
    folder?.record(event, (performance.now() - began) / 1000);
    events.push(event);
  };
  const go = async (): Promise<'done' | 'stopped'> => {
    const base = options.base ?? process.cwd();
    const task = await loadTask(config.task as PluginChoice, base);
    const { plugin, options: criticOptions } = await loadCritic(config.critic as PluginChoice, base);
    folder = await RunFolder.create(config);
    const workers = options.workers ?? (await start(config, folder));
    try {
      const training = await prepare(config, base, task, folder, workers, emit, () => stopping, {
        create: (environment) => plugin.create(criticOptions, environment),
      });
      await folder.writeVersions({
        node: process.version,
        workers: Object.fromEntries(workers.all.map((worker) => [worker.name, worker.ready.versions])),
      });
      let standing: Standing = { stage: config.stages[0]!, iteration: 0, successRate: null };
      if (config.start_from) {
        const { success_rate } = await readCheckpoint(resolve(base, config.start_from));
        standing = { ...standing, successRate: success_rate };
      }
      for (const stage of config.stages) {
        if (stopping) break;
        standing = await stages[stage](training, standing);
      }
      await training.critic.close?.();
      const reason = stopping ? 'stopped' : 'done';
      emit({ type: 'end', reason });
      return reason;
    } finally {
      if (!options.workers) await workers.close();
    }
  };
  const finished = go();
  finished.then(
    () => events.close(),
    (error) => events.close(error),
  );
  return {
    folder: resolve(config.folder),
    finished,
    async stop() {
      stopping = true;
      await finished.catch(() => {});
    },
    [Symbol.asyncIterator]: () => events[Symbol.asyncIterator](),
  };
}

function start(config: Config, folder: RunFolder): Promise<WorkerGroup> {
  return startWorkers({
    workers: workersOf(config).map((name) => {
      const { devices, threads } = config.workers[name]!;
      return { name, ...(devices !== null && { device: devices }), ...(threads !== null && { threads }) };
    }),
    logDirectory: folder.logs,
  });
}

/** Names of the workers that the actor and the critic ask for. */
function workersOf({ actor, critic, workers }: Config): string[] {
  const named = typeof critic === 'string' ? undefined : critic.worker;
  const implied =
    typeof critic !== 'string' && 'critic' in workers && critic.use !== 'group-mean' ? 'critic' : undefined;
  const wanted = new Set([actor?.worker, named ?? implied]);
  return Object.keys(workers).filter((name) => wanted.has(name));
}

async function prepare(
  config: Config,
  base: string,
  task: Task,
  folder: RunFolder,
  workers: WorkerGroup,
  emit: (event: RunEvent) => void,
  stopping: () => boolean,
  plugin: {
    create(
      environment: Parameters<Awaited<ReturnType<typeof loadCritic>>['plugin']['create']>[1],
    ): Critic | Promise<Critic>;
  },
): Promise<Training> {
  const from = config.start_from ? await readCheckpoint(resolve(base, config.start_from)) : null;
  const abort = new AbortController();
  const sourceOf = async (model: string, worker: string): Promise<string> => {
    if (!model.startsWith('task:')) {
      const path = isAbsolute(model) ? model : resolve(base, model);
      return existsSync(path) ? path : model;
    }
    const name = model.slice('task:'.length);
    const made = folder.models(name);
    if (!task.makeModel) throw new Error(`${model}: the task "${task.name}" makes no models of its own`);
    if (existsSync(join(made, 'config.json'))) return made;
    emit({ type: 'message', text: `making ${model}` });
    const progress = (share: number, words: string) =>
      emit({ type: 'message', text: `making ${model}: ${Math.round(100 * share)}%, ${words}` });
    await task.makeModel(name, made, {
      worker: workers.get(worker),
      seed: config.seed,
      progress,
      signal: abort.signal,
    });
    return made;
  };
  const common = { kind: 'causal', initialization: 'pretrained', seed: config.seed, device: 'auto' } as const;
  let actor: Actor | null = null;
  let reference: Model | null = null;
  if (config.actor) {
    const { model, worker: name, dtype, lora, optimizer, kl } = config.actor;
    const worker = workers.get(name);
    const source = from?.actor ?? (await sourceOf(model, name));
    actor = {
      model: await Model.load(worker, 'actor', { ...common, dtype, source, lora, optimizer }),
      options: config.actor,
    };
    if (kl > 0)
      reference = await Model.load(worker, 'reference', {
        ...common,
        dtype,
        source,
        lora: null,
        optimizer: null,
      });
  }
  const critic = await plugin.create({
    seed: config.seed,
    format: task.criticFormat ?? paperFormat,
    loadModel: async ({ model, worker, ...rest }) =>
      Model.load(workers.get(worker), 'critic', {
        ...common,
        ...rest,
        source: await sourceOf(model, worker),
      }),
  });
  if (from?.critic) await critic.load?.(from.critic);
  return { config, task, critic, actor, reference, folder, emit, stopping };
}
