/** A distribution at work: its task, its rewards and its actor, for whoever samples or values. */
import { join } from 'node:path';
import { ConfigError } from '../config/error.ts';
import { sampling as runSampling } from '../config/schema.ts';
import type { CriticEnvironment } from '../critic.ts';
import { criticEnvironment } from '../extensions/critic-environment.ts';
import { loadTask, type PluginChoice } from '../extensions/find-plugin.ts';
import { modelSource } from '../extensions/model-source.ts';
import { continuationsOf } from '../iteration/continuations.ts';
import {
  type ExactValues,
  exactValuesOf,
  noExactValues,
  ofAnotherReward,
} from '../iteration/exact-values.ts';
import type { LanguageModel } from '../language-model.ts';
import { leftOut, underRewards } from '../rewards/replaced.ts';
import { makeReward, type RewardOf, type RunReward } from '../rewards/reward.ts';
import type { Task } from '../task.ts';
import { paperFormat } from '../text/critic-prompt.ts';
import type { BudgetedSegmentation } from '../text/segment.ts';
import { LoadingNotes, loadingOf } from '../workers/loading.ts';
import type { WorkerGroup } from '../workers/local.ts';
import { pythonFunctions, pythonWorkerName } from '../workers/python-functions.ts';
import { WorkerModel } from '../workers/worker-model.ts';
import type { Distribution } from './config.ts';

export interface Tools {
  /** Folder that a user's own files are relative to. */
  readonly base: string;
  /** Folder of the evaluation. */
  readonly folder: string;
  readonly signal: AbortSignal;
  /** The workers, once they run. */
  workers(): WorkerGroup;
  /** One line for the user. */
  log(text: string): void;
}

export interface Ground {
  readonly options: Distribution;
  readonly task: Task;
  readonly rewardOf: RewardOf;
  readonly segmentation: BudgetedSegmentation;
  /** Is the worker `python` needed? */
  readonly usesPython: boolean;
  readonly references: Exclude<Distribution['references'], 'auto'>;
  /** For the log; the same of several distributions are said once. */
  readonly notes: readonly string[];
  /** Loads the actor once; null: there is none. */
  actor(): Promise<LanguageModel | null>;
  exactValues(): Promise<ExactValues | null>;
  /** Folder or Hub name; `task:NAME` is made once. */
  sourceOf(model: string, worker: string): Promise<string>;
  /** What critics are made with. */
  environment(): Promise<CriticEnvironment>;
}

export async function prepareGround(options: Distribution, tools: Tools): Promise<Ground> {
  const { base, folder, signal, log } = tools;
  const python = pythonFunctions(() => tools.workers().get(pythonWorkerName));
  const { task: given, usesPython } = await loadTask(options.task as PluginChoice, {
    ...{ base, python, log, segmentation: options.segmentation },
  });
  const task = underRewards(given, options);
  const { rewardOf, ...rewards } = await makeReward(
    { rewards: options.rewards, actor: options.actor as never },
    task,
    base,
    python,
  );
  const { seed } = options;
  const rule = options.segmentation ?? task.segmentation;
  const references = referencesOf(options, task, given);
  const begun = once(() => begin(task, rewards, options));
  const ground: Ground = {
    ...{ options, task, rewardOf, references, notes: leftOut(given, options) },
    usesPython: usesPython || rewards.usesPython,
    segmentation: {
      ...(rule ?? { by: 'sentence', max_segments: 16, min_tokens: 1 }),
      budget: options.sampling.max_new_tokens,
    },
    actor: once(async () => {
      await begun();
      return options.actor && loadActor(ground, tools);
    }),
    exactValues: once(async () => {
      const actor = await ground.actor();
      return actor && exactValuesOf(task, actor, () => options);
    }),
    async sourceOf(model, worker) {
      await begun();
      return modelSource(model, () => ({
        ...{ task, seed, signal, log, worker: tools.workers().get(worker) },
        folderOf: (name) => join(folder, 'models', name),
      }));
    },
    async environment() {
      const model = await ground.actor();
      const sampling = runSampling.parse(options.sampling);
      return criticEnvironment({
        ...{ base, seed, signal, log, frozen: true },
        format: task.criticFormat ?? paperFormat,
        runFolder: folder,
        worker: (name) => tools.workers().get(workerNamed(tools.workers(), name)),
        sourceOf: ground.sourceOf,
        actor:
          model &&
          continuationsOf(() => ({ model, rewardOf, sampling }), seed, await ground.exactValues()),
      });
    },
  };
  return ground;
}

/** A run's critic may name a worker that only its run had. */
const workerNamed = (workers: WorkerGroup, name: string): string =>
  workers.all.some((worker) => worker.name === name) ? name : 'critic';

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => {
    made ??= make();
    return made;
  };
}

async function begin(
  task: Task,
  rewards: Pick<RunReward, 'prepare'>,
  { split, seed, actor }: Distribution,
): Promise<void> {
  await task.prepare?.();
  const [first] = actor ? await task.problems(split, seed, 0, 1) : [];
  await rewards.prepare(first ?? null);
}

/** @throws ConfigError for references that there are not */
function referencesOf(options: Distribution, task: Task, given: Task): Ground['references'] {
  const { references, actor } = options;
  const unknown = given.referenceStates ? ofAnotherReward : `the task "${task.name}" knows none`;
  const ofStates = task.referenceStates ? null : unknown;
  const missing = actor ? noExactValues(task, options) : ofStates;
  const fault = (words: string) => new ConfigError([`references: "${references}" ${words}`]);
  if (references === 'exact' && missing !== null) throw fault(`needs exact values, but ${missing}`);
  if (references === 'continuations' && !actor) throw fault('needs an actor; name its model');
  if (!actor && !task.referenceStates && !task.frozenRollouts)
    throw new ConfigError([
      `actor: the task "${task.name}" brings no rollouts of its own` +
        `${options.rewards.length > 0 ? ' for these `rewards`' : ''}: name the actor's model`,
    ]);
  if (references !== 'auto') return references;
  if (missing === null) return 'exact';
  return actor ? 'continuations' : 'outcomes';
}

async function loadActor(ground: Ground, tools: Tools): Promise<LanguageModel> {
  const { actor, seed } = ground.options;
  const { model, worker, dtype } = actor!;
  const notes = new LoadingNotes(tools.log);
  const loaded = await WorkerModel.load(
    tools.workers().get(worker),
    'actor',
    {
      ...{ kind: 'causal', initialization: 'pretrained', device: 'auto', seed, dtype },
      ...{ loading: loadingOf(actor!), lora: null, optimizer: null },
      source: await ground.sourceOf(model, worker),
    },
    notes.plainChat('actor', model),
  );
  notes.sampling('actor', model, loaded.loaded);
  return loaded;
}
