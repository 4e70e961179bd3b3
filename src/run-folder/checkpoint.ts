/**
 * Checkpoints: `actor/` and `critic/` in Hugging Face format (with their optimizers' state) and
 * `controller.json`. A checkpoint is written under another name and then renamed, so that an
 * existing one is complete. `controller.json` lists every file with its size and digest, so that
 * damage and edits are noticed.
 */
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import packageJson from '../../package.json' with { type: 'json' };
import { stageNames } from '../config/schema.ts';
import { type FileList, filesOf, firstDifference, textDigest } from '../files/file-list.ts';
import { readText, refuseNoFolder } from '../files/text-file.ts';
import { UserError } from '../user-error.ts';

const FORMAT = 2;
const bytes = z.int().nonnegative();

const controllerSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** Version of GenAC that wrote it. */
  genac: z.string(),
  stage: z.enum(stageNames),
  /** Finished iterations of the stage. */
  iteration: z.int().nonnegative(),
  /** True: the stage ended here. */
  complete: z.boolean(),
  success_rate: z.number().min(0).max(1).nullable(),
  /** Other state that the stage needs to continue. */
  progress: z.record(z.string(), z.number()),
  /** State that a host's session needs; absent in a run's checkpoints. */
  host: z
    .strictObject({
      /** Whether the critic wrote scores at its last request; null: no request yet. */
      speaks: z.boolean().nullable(),
      /**
       * Lowest and highest reward so far, if the host learns the range; null: the range was given,
       * or there was no reward yet.
       */
      reward_range: z.tuple([z.number(), z.number()]).nullable(),
    })
    .optional(),
  /** Bytes of the run's files before this checkpoint. */
  written: z.strictObject({ metrics: bytes, trajectories: bytes }),
  /** Seconds of the run so far. */
  seconds: z.number().nonnegative(),
  /** Path within the checkpoint -> bytes and digest. */
  files: z.record(z.string(), z.tuple([bytes, z.string()])),
});

export type ControllerState = Omit<z.infer<typeof controllerSchema>, 'format' | 'genac' | 'files'>;

export interface Checkpoint extends ControllerState {
  readonly path: string;
  /** Folders of the models; null: not in the checkpoint. */
  readonly actor: string | null;
  readonly critic: string | null;
  /** Stage 2: the critic with the least held-out error so far. */
  readonly bestCritic: string | null;
}

/** Ends the name of a checkpoint whose place another is about to take. */
const OLD = '.old.unfinished';

/** Writes a part of a checkpoint to a folder. */
export type Save = (folder: string) => Promise<unknown>;

/** @returns the checkpoint's path */
export async function writeCheckpoint(
  folder: string,
  name: string,
  state: ControllerState,
  parts: Readonly<Record<'actor' | 'critic' | 'best-critic', Save | null>>,
): Promise<string> {
  const path = join(folder, name);
  const unfinished = `${path}.unfinished`;
  try {
    await rm(unfinished, { recursive: true, force: true });
    await mkdir(unfinished, { recursive: true });
    for (const [part, save] of Object.entries(parts)) await save?.(join(unfinished, part));
    const whole = {
      format: FORMAT,
      genac: packageJson.version,
      ...state,
      files: await filesOf(unfinished),
    };
    const text = JSON.stringify(whole, null, 2);
    const file = await open(join(unfinished, 'controller.json'), 'w');
    await file.writeFile(`${text}\n${textDigest(text)}\n`);
    await file.sync();
    await file.close();
    // The old checkpoint is removed after the rename, so that a complete one always exists, if only
    // under its other name.
    const old = `${path}${OLD}`;
    if (existsSync(path)) await rename(path, old);
    await rename(unfinished, path);
    await rm(old, { recursive: true, force: true });
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true }).catch(() => {});
    const last = newestCheckpoint(await checkpointNames(folder));
    const kept = last ? `the last one, ${join(folder, last)}, is whole` : 'there is none before it';
    throw new UserError(
      `the checkpoint ${path} could not be written (${(error as Error).message}); ${kept}. ` +
        `Make room, then: genac resume ${dirname(folder)}`,
      { cause: error },
    );
  }
  return path;
}

/**
 * Reads a checkpoint and checks every file. Throws an error that says what is wrong and what to do.
 */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  if (!existsSync(path)) {
    const names = await checkpointNames(dirname(path));
    const there = names.length > 0 ? names.join(', ') : 'no checkpoints';
    throw new UserError(`there is no checkpoint ${path}; in ${dirname(path)} there are ${there}`);
  }
  const refuse = (why: string, cause?: unknown) =>
    new UserError(`the checkpoint ${path} can't be used: ${why}. ${remedy(path)}`, { cause });
  let text: string;
  try {
    text = readText(join(path, 'controller.json'));
  } catch (error) {
    throw refuse(`it has no controller.json that can be read (${(error as Error).message})`, error);
  }
  const at = text.trimEnd().lastIndexOf('\n');
  const json = text.slice(0, at);
  let state: unknown;
  try {
    state = JSON.parse(json);
  } catch (error) {
    throw refuse('its controller.json was cut off or edited', error);
  }
  const format = (state as { format?: unknown } | null)?.format;
  if (format !== FORMAT) {
    const by = (state as { genac?: unknown } | null)?.genac ?? 'another version';
    throw refuse(
      `it has format ${JSON.stringify(format)}, written by GenAC ${String(by)}; GenAC ` +
        `${packageJson.version} reads format ${FORMAT}`,
    );
  }
  if (text.slice(at).trim() !== textDigest(json)) throw refuse('its controller.json was edited');
  const read = controllerSchema.safeParse(state);
  if (!read.success)
    throw refuse(`its controller.json is not valid (${read.error.issues[0]?.path.join('.')})`);
  const { format: _format, genac: _genac, files, ...rest } = read.data;
  const found = await filesOf(path).catch((error: Error) => {
    throw refuse(error.message, error);
  });
  const wrong = firstDifference(files as FileList, found);
  if (wrong !== null) throw refuse(wrong);
  const part = (name: string) => (existsSync(join(path, name)) ? join(path, name) : null);
  return {
    ...rest,
    path,
    actor: part('actor'),
    critic: part('critic'),
    bestCritic: part('best-critic'),
  };
}

function remedy(path: string): string {
  const folder = dirname(path);
  if (basename(folder) !== 'checkpoints') return "Name a folder under a run's `checkpoints/`";
  return `Use one before it (they are in ${folder}): genac resume ${dirname(folder)} --from NAME`;
}

/** Of one within a stage: `STAGE-000040`. */
export const nameWithin = (stage: string, iteration: number): string =>
  `${stage}-${String(iteration).padStart(6, '0')}`;
const pattern = new RegExp(`^(${stageNames.join('|')})(?:-(\\d{6,}))?$`);

/** Returns `STAGE` at a stage's end, else `STAGE-000040`. */
export function checkpointName({ stage, iteration, complete }: ControllerState): string {
  return complete ? stage : nameWithin(stage, iteration);
}

/** Returns the names of a run's checkpoints in order, oldest first, without `best`. */
export async function checkpointNames(folder: string): Promise<string[]> {
  refuseNoFolder(folder);
  const names = existsSync(folder) ? await readdir(folder) : [];
  const place = (name: string): [number, number] => {
    const [, stage, iteration] = pattern.exec(name)!;
    return [
      stageNames.indexOf(stage as (typeof stageNames)[number]),
      iteration === undefined ? Number.POSITIVE_INFINITY : Number(iteration),
    ];
  };
  return names
    .filter((name) => pattern.test(name))
    .sort((a, b) => {
      const [stageA, iterationA] = place(a);
      const [stageB, iterationB] = place(b);
      return stageA - stageB || (iterationA === iterationB ? 0 : iterationA - iterationB);
    });
}

/**
 * Gives checkpoints their names back whose place was to be taken when the process died. For the one
 * process that works in the folder.
 */
export async function putBackCheckpoints(folder: string): Promise<void> {
  const names = existsSync(folder) ? await readdir(folder) : [];
  for (const name of names.filter((one) => one.endsWith(OLD))) {
    const own = join(folder, name.slice(0, -OLD.length));
    if (!existsSync(own)) await rename(join(folder, name), own);
  }
}

/**
 * Returns whether `best` holds models from before this checkpoint, so that a run that continues
 * from it may keep them.
 */
export async function holdsBestOf(folder: string, from: Checkpoint): Promise<boolean> {
  const path = join(folder, 'best');
  if (from.stage !== 'joint' || !existsSync(path)) return false;
  const best = await readCheckpoint(path).catch(() => null);
  return best !== null && best.iteration <= from.iteration;
}

export const newestCheckpoint = (names: readonly string[]): string | null => names.at(-1) ?? null;

/**
 * Removes all but the newest `keep` checkpoints within a stage, and remains of an interrupted
 * write.
 */
export async function pruneCheckpoints(folder: string, stage: string, keep: number): Promise<void> {
  const within = (await checkpointNames(folder)).filter(
    (name) => name.startsWith(`${stage}-`) && /\d$/.test(name),
  );
  const unfinished = (await readdir(folder)).filter((name) => name.endsWith('.unfinished'));
  for (const name of [...within.slice(0, Math.max(0, within.length - keep)), ...unfinished]) {
    await rm(join(folder, name), { recursive: true, force: true });
  }
}
