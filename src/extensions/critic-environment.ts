/** What a critic is made with, the same in a run, for a host and by itself. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoraOptions } from '../bridge/model-options.ts';
import type { Worker } from '../bridge/worker.ts';
import { createCritic } from '../checked-critic.ts';
import type { Continuations, CriticEnvironment, CriticModelOptions } from '../critic.ts';
import { deriveSeed } from '../math/random.ts';
import type { CriticFormat } from '../text/critic-prompt.ts';
import { LoadingNotes } from '../workers/loading.ts';
import { WorkerModel } from '../workers/worker-model.ts';
import { loadCritic } from './find-plugin.ts';

export interface EnvironmentParts {
  /** Folder that a critic's own files are relative to. Default: the working directory. */
  readonly base?: string;
  readonly seed: number;
  readonly format: CriticFormat;
  /** Of the run's folder, in which the critic gets one of its own; null: there is none. */
  readonly runFolder: string | null;
  readonly signal: AbortSignal;
  readonly log: (text: string) => void;
  /** The worker that a model names. */
  readonly worker: (name: string) => Worker;
  /** Where a model's files lie: a folder or a Hub name. Default: as it is named. */
  readonly sourceOf?: (model: string, worker: string) => Promise<string>;
  /** Default: there is none. */
  readonly actor?: Continuations | null;
  /** true: models stay as they are, without adapters and optimizers. */
  readonly frozen?: boolean;
}

/** Names that models of a run have in their workers. */
const taken = ['actor', 'reference'];

export function criticEnvironment(parts: EnvironmentParts): CriticEnvironment {
  const {
    seed,
    format,
    runFolder,
    signal,
    log,
    worker: workerOf,
    sourceOf,
    actor = null,
    base = '.',
    frozen = false,
  } = parts;
  const notes = new LoadingNotes(log);
  const environment: CriticEnvironment = {
    ...{ seed, format, signal, log, actor },
    async folder() {
      if (runFolder === null) return null;
      const own = join(runFolder, 'critic');
      await mkdir(own, { recursive: true });
      return own;
    },
    async loadModel(name, { model, worker, kind = 'causal', ...rest }: CriticModelOptions) {
      if (taken.includes(name)) throw new Error(`a critic's model can't be named "${name}"`);
      const source = sourceOf ? await sourceOf(model, worker) : model;
      const own = frozen
        ? { ...rest, lora: null, optimizer: null }
        : withoutSecondAdapter(source, rest);
      const loaded = await WorkerModel.load(
        workerOf(worker),
        name,
        { initialization: 'pretrained', device: 'auto', seed, kind, ...own, source },
        notes.plainChat(name, model),
      );
      notes.sampling(name, model, loaded.loaded);
      return loaded;
    },
    async critic(name, choice) {
      const { plugin, options } = await loadCritic(choice, base);
      return createCritic(plugin, options, partOf(environment, name));
    },
  };
  return environment;
}

/** The environment of a part: what is named within it has the part's name before it. */
function partOf(whole: CriticEnvironment, part: string): CriticEnvironment {
  return {
    ...whole,
    seed: deriveSeed(whole.seed, `critic/${part}`)[0],
    async folder() {
      const folder = await whole.folder();
      if (folder === null) return null;
      await mkdir(join(folder, part), { recursive: true });
      return join(folder, part);
    },
    loadModel: (name, options) => whole.loadModel(`${part}/${name}`, options),
    critic: (name, choice) => whole.critic(`${part}/${name}`, choice),
  };
}

/** A folder that is a LoRA adapter already is gone on with; it gets no second one. */
export function withoutSecondAdapter<T extends { readonly lora: LoraOptions | null }>(
  source: string,
  options: T,
): T {
  return existsSync(join(source, 'adapter_config.json')) ? { ...options, lora: null } : options;
}
