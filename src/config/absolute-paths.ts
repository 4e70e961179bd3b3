/** A config that means the same from any working directory. */
import { existsSync } from 'node:fs';
import { isWrittenAsPath, pathFrom } from '../files/paths.ts';
import type { Config } from './schema.ts';

/**
 * A model that lies on this machine by its absolute path; `task:NAME` and names on the Hub as they
 * are.
 */
function modelFrom(model: string): string {
  if (model.startsWith('task:')) return model;
  const path = pathFrom('.', model);
  return isWrittenAsPath(model) || existsSync(path) ? path : model;
}

/**
 * The config with absolute paths in the place of those that are relative to the working directory,
 * so that the run can be resumed from anywhere. Paths within the task, rewards and files of one's
 * own are relative to the config file's folder, which the run keeps.
 */
export function withAbsolutePaths(config: Config): Config {
  const { actor, critic, critic_sft, start_from } = config;
  const { traces } = critic_sft;
  const named = typeof critic === 'string' ? null : (critic as { model?: unknown }).model;
  return {
    ...config,
    folder: pathFrom('.', config.folder),
    start_from: start_from === null ? null : pathFrom('.', start_from),
    // ICC goes on calling the actor what the config calls it.
    actor: actor && { ...actor, name: actor.name ?? actor.model, model: modelFrom(actor.model) },
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
