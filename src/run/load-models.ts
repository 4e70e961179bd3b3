import { createCritic } from '../checked-critic.ts';
import type { Config } from '../config/schema.ts';
import type { Critic, CriticPlugin } from '../critic.ts';
import { criticEnvironment, withoutSecondAdapter } from '../extensions/critic-environment.ts';
import { modelSource } from '../extensions/model-source.ts';
import type { Training } from '../iteration/context.ts';
import { continuationsOf } from '../iteration/continuations.ts';
import { exactValuesOf } from '../iteration/exact-values.ts';
import type { RewardOf } from '../rewards/reward.ts';
import type { Checkpoint } from '../run-folder/checkpoint.ts';
import type { RunEvent } from '../run-folder/events.ts';
import type { RunFolder } from '../run-folder/folder.ts';
import type { Task } from '../task.ts';
import { paperFormat } from '../text/critic-prompt.ts';
import { engineOf } from '../workers/engine.ts';
import { LoadingNotes, loadingOf } from '../workers/loading.ts';
import type { WorkerGroup } from '../workers/local.ts';
import { WorkerModel } from '../workers/worker-model.ts';
import type { Steering } from './steering.ts';

export interface Preparation {
  /** Folder that paths in the config are relative to. */
  readonly base: string;
  readonly config: Config;
  readonly task: Task;
  readonly rewardOf: RewardOf;
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
  /** Aborted at the end of the run. */
  readonly over: AbortSignal;
}

const common = { kind: 'causal', initialization: 'pretrained', device: 'auto' } as const;

export async function prepareTraining(preparation: Preparation): Promise<Training> {
  const { config, task, rewardOf, folder, workers, from, emit, signal, steering } = preparation;
  const { seed } = config;
  const source = (model: string, worker: string) => sourceOf(preparation, model, worker);
  const log = (text: string) => emit({ type: 'message', text });
  const { actor, reference } = await loadActor(
    { ...config, start: from?.actor ?? null },
    { workers, log, sourceOf: source },
  );
  const parts = actor && (() => ({ model: actor, rewardOf, sampling: steering.config.sampling }));
  const environment = criticEnvironment({
    base: preparation.base,
    ...{
      seed,
      signal: preparation.over,
      runFolder: folder.path,
      format: task.criticFormat ?? paperFormat,
    },
    log,
    worker: (name) => workers.get(name),
    actor:
      parts &&
      continuationsOf(
        parts,
        seed,
        exactValuesOf(task, actor, () => steering.config),
      ),
    sourceOf: source,
  });
  const { plugin, criticOptions } = preparation;
  const start = from?.critic ?? null;
  const options =
    start && plugin.startFrom ? plugin.startFrom(criticOptions, start) : criticOptions;
  const critic = await createCritic(plugin, options, environment);
  if (start && !plugin.startFrom) await critic.load?.(start);
  return {
    get config() {
      return steering.config;
    },
    begun: config,
    task,
    rewardOf,
    critic,
    actor,
    reference,
    folder,
    emit,
    steering,
    stopping: () => signal.aborted,
  };
}

/** Models as a checkpoint of this run holds them. */
export async function restoreModels(
  { actor, critic }: Training,
  checkpoint: Checkpoint,
): Promise<void> {
  if (checkpoint.actor) await actor?.restore(checkpoint.actor);
  await restoreCritic(critic, checkpoint);
}

/**
 * Within a stage the critic's optimizer goes on; after one it starts afresh, as at every stage's
 * beginning.
 */
export async function restoreCritic(
  critic: Critic,
  { critic: folder, complete }: Pick<Checkpoint, 'critic' | 'complete'>,
): Promise<void> {
  if (!folder) return;
  if (!complete && critic.restore) await critic.restore(folder);
  else await critic.load?.(folder);
}

/**
 * The actor, and the reference of its KL where it has one.
 *
 * @param what `start`: the folder that the actor starts from in the place of its model
 */
export async function loadActor(
  what: Pick<Config, 'actor' | 'seed'> & { readonly start: string | null },
  tools: {
    readonly workers: Pick<WorkerGroup, 'get'>;
    readonly log: (text: string) => void;
    readonly sourceOf: (model: string, worker: string) => Promise<string>;
  },
): Promise<Pick<Training, 'actor' | 'reference'>> {
  const { workers, log } = tools;
  const notes = new LoadingNotes(log);
  if (!what.actor) return { actor: null, reference: null };
  const { model: named, worker: name, dtype, lora, optimizer, kl } = what.actor;
  const loading = loadingOf(what.actor);
  const worker = workers.get(name);
  const load = (
    as: string,
    source: string,
    trained: Pick<NonNullable<Config['actor']>, 'lora'> | null,
  ) =>
    WorkerModel.load(
      worker,
      as,
      {
        ...common,
        seed: what.seed,
        dtype,
        // Nothing is sampled from a model that is not trained: the KL's reference.
        loading: trained ? loading : { ...loading, ...engineOf('transformers') },
        source,
        ...withoutSecondAdapter(source, { lora: trained ? lora : null }),
        optimizer: trained ? optimizer : null,
      },
      notes.plainChat(as, named),
    );
  const initial = await tools.sourceOf(named, name);
  const actor = await load('actor', what.start ?? initial, what.actor);
  notes.sampling('actor', named, actor.loaded);
  // The KL is to the initial actor, also in a run that starts from a checkpoint.
  return { actor, reference: kl > 0 ? await load('reference', initial, null) : null };
}

/** `task:NAME` is made once for the run. */
function sourceOf(preparation: Preparation, model: string, worker: string): Promise<string> {
  const { config, task, folder, workers, emit, signal } = preparation;
  return modelSource(model, () => ({
    ...{ task, signal, seed: config.seed, worker: workers.get(worker) },
    folderOf: (name) => folder.models(name),
    log: (text) => emit({ type: 'message', text }),
  }));
}
