/**
 * Checkpoints: `actor/` and `critic/` in Hugging Face format (with their optimizers' state) and `controller.json`. Written beside its place and made whole by one
 * rename, so that a checkpoint that exists is complete.
 */
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

const controllerSchema = z.strictObject({
  format: z.literal(1),
  stage: z.enum(['critic-sft', 'critic-rl', 'joint']),
  /** Iterations of the stage that are behind it. */
  iteration: z.int().nonnegative(),
  /** Did the stage end here? */
  complete: z.boolean(),
  success_rate: z.number().min(0).max(1).nullable(),
});

export type ControllerState = z.infer<typeof controllerSchema>;

export interface Checkpoint extends ControllerState {
  readonly path: string;
  /** Folders of the models; null: not part of it. */
  readonly actor: string | null;
  readonly critic: string | null;
}

export interface Savable {
  save(folder: string, optimizer: boolean): Promise<void>;
}

/** @returns the checkpoint's path */
export async function writeCheckpoint(
  folder: string,
  name: string,
  state: Omit<ControllerState, 'format'>,
  models: { readonly actor: Savable | null; readonly critic: Savable | null },
): Promise<string> {
  const path = join(folder, name);
  const unfinished = `${path}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true });
  await models.actor?.save(join(unfinished, 'actor'), true);
  await models.critic?.save(join(unfinished, 'critic'), true);
  const file = await open(join(unfinished, 'controller.json'), 'w');
  await file.writeFile(`${JSON.stringify({ format: 1, ...state }, null, 2)}\n`);
  await file.sync();
  await file.close();
  await rm(path, { recursive: true, force: true });
  await rename(unfinished, path);
  return path;
}

export async function readCheckpoint(path: string): Promise<Checkpoint> {
  let state: ControllerState;
  try {
    state = controllerSchema.parse(JSON.parse(await readFile(join(path, 'controller.json'), 'utf8')));
  } catch (error) {
    throw new Error(
      `${path} is not a checkpoint that can be read (${(error as Error).message}); name a folder under a run's \`checkpoints/\``,
      {
        cause: error,
      },
    );
  }
  const part = (name: string) => (existsSync(join(path, name)) ? join(path, name) : null);
  return { ...state, path, actor: part('actor'), critic: part('critic') };
}

/** Removes all but the newest `keep` checkpoints whose names begin with `prefix`, and what an interrupted write left. */
export async function pruneCheckpoints(folder: string, prefix: string, keep: number): Promise<void> {
  const names = await readdir(folder);
  const whole = names.filter((name) => name.startsWith(prefix) && !name.endsWith('.unfinished')).sort();
  for (const name of [
    ...whole.slice(0, Math.max(0, whole.length - keep)),
    ...names.filter((n) => n.endsWith('.unfinished')),
  ]) {
    await rm(join(folder, name), { recursive: true, force: true });
  }
}
