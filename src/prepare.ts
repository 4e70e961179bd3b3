/** Loads what a run needs into its workers: the actor, its reference, the critic. */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { LoraOptions } from './bridge/operations.ts';
import type { Config } from './config.ts';
import { type Critic, type CriticModelOptions, type CriticPlugin, createCritic } from './critic.ts';
import { loadingOf, slowSampling } from './loading.ts';
import type { Judge } from './rewards.ts';
import type { Checkpoint } from './runs/checkpoint.ts';
import type { RunEvent } from './runs/events.ts';
import type { RunFolder } from './runs/folder.ts';
import type { Steering } from './steering.ts';
import type { Task } from './task.ts';
import { paperFormat } from './text/critic-prompt.ts';
import type { Training } from './training.ts';
import type { WorkerGroup } from './workers/local.ts';
import { Model } from './workers/model.ts';

export interface Preparation {
  readonly config: Config;
  readonly task: Task;
  readonly judge: Judge;
  readonly plugin: CriticPlugin;
  readonly criticOptions: unknown;
  /** The checkpoint that the run starts from. */
  readonly from: Checkpoint | null;
  readonly folder: RunFolder;
  readonly workers: WorkerGroup;
  readonly emit: (event: RunEvent) => void;
  readonly steering: Steering;
  /** Aborted by `stop()`. */
  readonly signal: AbortSignal;
}

const common = { kind: 'causal', initialization: 'pretrained', device: 'auto' } as const;

export async function prepareTraining(preparation: Preparation): Promise<Training> {
  const { config, task, judge, folder, workers, from, emit, signal, steering } = preparation;
  const { seed } = config;
  const plainChat = sayPlainChats(emit);
  const sayIfSlow = saySlowSampling(emit);
  const { actor, reference } = await loadActor(preparation, plainChat, sayIfSlow);
  const critic = await createCritic(preparation.plugin, optionsFrom(preparation), {
    seed,
    format: task.criticFormat ?? paperFormat,
    loadModel: async (options) => {
      const { model, worker } = options;
      const source = await sourceOf(preparation, model, worker);
      const loaded = await loadCriticModel(
        workers,
        { ...options, model: source },
        seed,
        plainChat('critic', model),
      );
      sayIfSlow('critic', model, loaded);
      return loaded;
    },
  });
  if (from?.critic && !takesModel(preparation.criticOptions)) await critic.load?.(from.critic);
  return {
    get config() {
      return steering.config;
    },
    task,
    judge,
    critic,
    actor,
    reference,
    folder,
    emit,
    steering,
    stopping: () => signal.aborted,
  };
}

/** The critic's model, into its worker. */
export function loadCriticModel(
  workers: WorkerGroup,
  { model: source, worker, ...rest }: CriticModelOptions,
  seed: number,
  plainChat: () => void,
): Promise<Model> {
  const options = { ...common, seed, ...withoutSecondAdapter(source, rest), source };
  return Model.load(workers.get(worker), 'critic', options, plainChat);
}

/** Models as a checkpoint of this run holds them. */
export async function restoreModels({ actor, critic }: Training, checkpoint: Checkpoint): Promise<void> {
  if (checkpoint.actor) await actor?.restore(checkpoint.actor);
  await restoreCritic(critic, checkpoint);
}

/** Within a stage the critic's optimizer goes on; after one it starts afresh, as at every stage's beginning. */
export async function restoreCritic(
  critic: Critic,
  { critic: folder, complete }: Pick<Checkpoint, 'critic' | 'complete'>,
): Promise<void> {
  if (!folder) return;
  if (!complete && critic.restore) await critic.restore(folder);
  else await critic.load?.(folder);
}

/** A folder that is a LoRA adapter already is gone on with; it gets no second one. */
function withoutSecondAdapter<T extends { readonly lora: LoraOptions | null }>(
  source: string,
  options: T,
): T {
  return existsSync(join(source, 'adapter_config.json')) ? { ...options, lora: null } : options;
}

/** Says in the log, once for each model, that it reads chats as plain text because it has no chat template. */
function sayPlainChats(emit: (event: RunEvent) => void) {
  const told = new Set<string>();
  return (as: string, source: string) => () => {
    if (told.has(as)) return;
    told.add(as);
    const text = `${as}: ${source} has no chat template; it is given chats as plain text, "role: content", and "assistant:" at the end`;
    emit({ type: 'message', text });
  };
}

/** Says in the log, once for each model, that its architecture is sampled more slowly than most. */
function saySlowSampling(emit: (event: RunEvent) => void) {
  const said = new Set<string>();
  return (as: string, source: string, { loaded }: Model) => {
    const text = slowSampling(as, source, loaded);
    if (!text || said.has(as)) return;
    said.add(as);
    emit({ type: 'message', text });
  };
}

async function loadActor(
  preparation: Preparation,
  plainChat: ReturnType<typeof sayPlainChats>,
  sayIfSlow: ReturnType<typeof saySlowSampling>,
): Promise<Pick<Training, 'actor' | 'reference'>> {
  const { config, workers, from } = preparation;
  if (!config.actor) return { actor: null, reference: null };
  const { model: named, worker: name, dtype, lora, optimizer, kl } = config.actor;
  const loading = loadingOf(config.actor);
  const worker = workers.get(name);
  const load = (as: string, source: string, trained: Pick<typeof config.actor, 'lora'> | null) =>
    Model.load(
      worker,
      as,
      {
        ...common,
        seed: config.seed,
        dtype,
        loading,
        source,
        ...withoutSecondAdapter(source, { lora: trained ? lora : null }),
        optimizer: trained ? optimizer : null,
      },
      plainChat(as, named),
    );
  const initial = await sourceOf(preparation, named, name);
  const actor = await load('actor', from?.actor ?? initial, config.actor);
  sayIfSlow('actor', named, actor);
  // The KL is to the initial actor, also in a run that starts from a checkpoint.
  return { actor, reference: kl > 0 ? await load('reference', initial, null) : null };
}

const takesModel = (options: unknown): options is { model: string } =>
  typeof (options as { model?: unknown } | null)?.model === 'string';

/** A critic that names a model takes that of the checkpoint instead. */
function optionsFrom({ criticOptions, from }: Preparation): unknown {
  return from?.critic && takesModel(criticOptions) ? { ...criticOptions, model: from.critic } : criticOptions;
}

/** A folder, a Hub name, or `task:NAME`, which the task makes once for the run. */
async function sourceOf(preparation: Preparation, model: string, worker: string): Promise<string> {
  const { config, task, folder, workers, emit, signal } = preparation;
  if (!model.startsWith('task:')) return existsSync(resolve(model)) ? resolve(model) : model;
  const name = model.slice('task:'.length);
  const made = folder.models(name);
  if (existsSync(join(made, 'config.json'))) return made;
  if (!task.makeModel) throw new Error(`${model}: the task "${task.name}" makes no models of its own`);
  emit({ type: 'message', text: `making ${model}` });
  const progress = (share: number, words: string) =>
    emit({ type: 'message', text: `making ${model}: ${Math.round(100 * share)}%, ${words}` });
  const unfinished = `${made}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await task.makeModel(name, unfinished, {
    worker: workers.get(worker),
    seed: config.seed,
    progress,
    signal,
  });
  await rename(unfinished, made);
  return made;
}
