/** Makes a config independent of the working directory. */
import { existsSync } from 'node:fs';
import { isWrittenAsPath, pathFrom } from '../files/paths.ts';
import type { Config } from './schema.ts';

/**
 * Returns the absolute path of a model on this machine; `task:NAME` and Hub names stay as they are.
 */
export function modelFrom(model: string): string {
  if (model.startsWith('task:')) return model;
  const path = pathFrom('.', model);
  return isWrittenAsPath(model) || existsSync(path) ? path : model;
}

/**
 * Returns the config with absolute paths instead of paths relative to the working directory, so
 * that the run can be resumed from anywhere. Paths of the task, of rewards and of the user's own
 * files are relative to the config file's folder, which the run keeps; those that a critic's other
 * options name are known to its plugin (`absolute-critic.ts`).
 */
export function withAbsolutePaths(config: Config): Config {
  const { actor, critic, critic_sft, start_from } = config;
  const { traces } = critic_sft;
  const named = typeof critic === 'string' ? null : (critic as { model?: unknown }).model;
  const tokenizer = actor?.tokenizer ?? null;
  return {
    ...config,
    folder: pathFrom('.', config.folder),
    start_from: start_from === null ? null : pathFrom('.', start_from),
    // ICC keeps the actor's name from the config.
    actor: actor && {
      ...{ ...actor, name: actor.name ?? actor.model, model: modelFrom(actor.model) },
      tokenizer: tokenizer && modelFrom(tokenizer),
    },
    log: config.log.map((logger) =>
      'folder' in logger && typeof logger.folder === 'string'
        ? { ...logger, folder: pathFrom('.', logger.folder) }
        : logger,
    ),
    critic:
      typeof critic === 'string' || typeof named !== 'string'
        ? critic
        : { ...critic, model: modelFrom(named) },
    critic_sft: { ...critic_sft, traces: tracesFrom(traces) },
  };
}

function tracesFrom(traces: Config['critic_sft']['traces']): Config['critic_sft']['traces'] {
  if (typeof traces === 'string') return traces === 'oracle' ? traces : pathFrom('.', traces);
  const { cache } = traces.api;
  return cache === null ? traces : { api: { ...traces.api, cache: pathFrom('.', cache) } };
}
