/** Finds the critic in a folder: its weights, the run that trained it, and its last known actor. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import type { Config } from '../config/schema.ts';
import { readText } from '../files/text-file.ts';
import { checkpointNames, newestCheckpoint } from '../run-folder/checkpoint.ts';
import { RunFolder } from '../run-folder/folder.ts';
import type { ActorProfile } from '../types.ts';
import { UserError } from '../user-error.ts';
import { parametersIn } from './parameters.ts';

export interface FoundCritic {
  /** Folder of the weights, or a Hub name. */
  readonly model: string;
  /** The run that the folder belongs to; null: none. */
  readonly run: { readonly config: Config; readonly base: string } | null;
  /** The actor of its checkpoint; null: not known. */
  readonly actor: ActorProfile | null;
}

const isModel = (folder: string) =>
  existsSync(join(folder, 'config.json')) || existsSync(join(folder, 'adapter_config.json'));
const isRun = (folder: string) =>
  existsSync(join(folder, 'run.json')) && existsSync(join(folder, 'config.yaml'));

/**
 * @param given a run, a checkpoint, a folder in Hugging Face format (also a LoRA adapter), or a Hub
 * name
 */
export async function findCritic(given: string): Promise<FoundCritic> {
  if (!existsSync(given)) {
    if (/^[.~/]|\/.*\//.test(given)) throw new UserError(`there is no folder ${given}`);
    return { model: given, run: null, actor: null };
  }
  const model = await weightsIn(resolve(given), given);
  const folder = runAbove(model);
  if (folder === null) return { model, run: null, actor: null };
  const run = await RunFolder.read(folder);
  return { model, run, actor: actorBeside(model, run.config) };
}

async function weightsIn(folder: string, given: string): Promise<string> {
  if (isRun(folder)) {
    const newest = newestCheckpoint(await checkpointNames(join(folder, 'checkpoints')));
    if (newest === null) throw new UserError(`the run in ${given} has no checkpoint yet`);
    return weightsIn(join(folder, 'checkpoints', newest), given);
  }
  if (isModel(join(folder, 'critic'))) return join(folder, 'critic');
  if (isModel(folder)) return folder;
  if (existsSync(join(folder, 'controller.json'))) {
    const own = join(folder, 'critic');
    const parts = existsSync(own) ? readdirSync(own).sort().join(', ') : null;
    throw new UserError(
      parts === null
        ? `the checkpoint ${folder} has no critic of its own (its run's critic has no weights)`
        : `the checkpoint ${folder} has a critic of several parts (${parts}), which can't be ` +
            'used by itself',
    );
  }
  const files = readdirSync(folder).slice(0, 8).join(', ');
  throw new UserError(
    `${given} holds no critic: no checkpoint and no config.json (it holds ${files || 'nothing'})`,
  );
}

/** Returns RUN for RUN/checkpoints/NAME/critic and for RUN/best-critic. */
function runAbove(model: string): string | null {
  let folder = model;
  for (let up = 0; up < 3; up++) {
    folder = dirname(folder);
    if (isRun(folder)) return folder;
  }
  return null;
}

const stateSchema = z.looseObject({ success_rate: z.number().nullable() });

/** The actor as ICC described it at the checkpoint. */
function actorBeside(model: string, { actor }: Config): ActorProfile | null {
  const parameters = parametersIn(join(dirname(model), 'actor'));
  const controller = join(dirname(model), 'controller.json');
  if (!actor || parameters === null || !existsSync(controller)) return null;
  // The last line is a digest of the other lines.
  const text = readText(controller).trimEnd();
  try {
    const { success_rate } = stateSchema.parse(JSON.parse(text.slice(0, text.lastIndexOf('\n'))));
    return { name: actor.name ?? actor.model, parameters, successRate: success_rate };
  } catch (error) {
    throw new UserError(`${controller} was cut off or edited: name another checkpoint`, {
      cause: error,
    });
  }
}
