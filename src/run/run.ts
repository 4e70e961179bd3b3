/** A run as a script sees it: started or resumed, watched, steered, stopped. */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { withAbsolutePaths } from '../config/absolute-paths.ts';
import { nearest } from '../config/error.ts';
import { checkConfig } from '../config/load.ts';
import type { Config, ConfigInput } from '../config/schema.ts';
import type { Settings } from '../config/settings.ts';
import { withAbsoluteCritic } from '../extensions/absolute-critic.ts';
import {
  linksIn,
  namedBy,
  namedByCritic,
  refuseForeign,
  rememberOwnRun,
} from '../extensions/consent.ts';
import { pathFrom } from '../files/paths.ts';
import {
  type Checkpoint,
  checkpointNames,
  holdsBestOf,
  newestCheckpoint,
  putBackCheckpoints,
  readCheckpoint,
} from '../run-folder/checkpoint.ts';
import { EventStream, type RunEvent, type StagePosition } from '../run-folder/events.ts';
import { RunFolder } from '../run-folder/folder.ts';
import { readSettings } from '../run-folder/read.ts';
import { isAlive, readStatus } from '../run-folder/status.ts';
import { UserError } from '../user-error.ts';
import type { WorkerGroup } from '../workers/local.ts';
import { type RunSource, runLifecycle } from './lifecycle.ts';
import { orderOf, type Steering } from './steering.ts';

export interface Run extends AsyncIterable<RunEvent> {
  /** Where it is written. */
  readonly folder: string;
  /** Waits after the iteration in hand, until `resume`. Models stay in memory. */
  pause(): void;
  resume(): void;
  /**
   * Changes values from the next iteration on. Rejects with a `ConfigError` if one is wrong or has
   * no effect here; nothing changes then.
   *
   * @returns from which iteration on they hold; null: the run ended before
   */
  set(values: Settings): Promise<StagePosition | null>;
  /**
   * Ends the run after the iteration in hand, with a checkpoint from which it can be resumed.
   * Resolves when all is closed.
   */
  stop(): Promise<void>;
  /** Resolves at the end (`done` or `stopped`); rejects with what went wrong. */
  readonly finished: Promise<'done' | 'stopped'>;
}

export interface RunOptions {
  /**
   * Folder that a user's own task, critic and reward files are relative to: that of the config
   * file. Default: the working directory.
   */
  readonly base?: string;
  /** The config's file, if it has one: `resumeRun` says when it was changed since. */
  readonly file?: string;
  /** Workers that are running already; they are left running. */
  readonly workers?: WorkerGroup;
}

/**
 * Starts a run. Iterate it for typed events; `stop()` ends it cleanly. A bad config throws at once;
 * what goes wrong later rejects `finished` and ends the iteration with the same error.
 */
export function startRun(input: ConfigInput, options: RunOptions = {}): Run {
  const given = withAbsolutePaths(checkConfig(input));
  const base = resolve(options.base ?? '.');
  const find = async () => {
    const critic = (await withAbsoluteCritic(given.critic, base)) as Config['critic'];
    const config = { ...given, critic };
    const open = async () => {
      const folder = await RunFolder.create(config, base, options.file);
      const named = await namedByCritic(critic, base);
      rememberOwnRun(folder.path, [...namedBy(config, base), ...named]);
      return folder;
    };
    return { config, base, checkpoint: null, past: [], open, notes: [] };
  };
  return begin(given.folder, find, options);
}

export interface ResumeOptions extends Pick<RunOptions, 'workers'> {
  /** Name of the checkpoint to resume from. Default: the newest. */
  readonly from?: string;
  /** Allows code, keys, places and loggers that the config of another user's run names. */
  readonly trustCode?: boolean;
}

/**
 * Goes on with a run that was stopped, or that died, from its newest checkpoint: with the same
 * numbers as if it had never ended. What it wrote after that checkpoint is cut off. A checkpoint
 * that is not whole is refused.
 */
export function resumeRun(folder: string, options: ResumeOptions = {}): Run {
  const path = pathFrom('.', folder);
  return begin(path, () => lifeOf(path, options), options);
}

/**
 * Whether the last stage of a run that no process works on has its checkpoint, so that there is
 * nothing to resume, though the process may have died before it could say so.
 */
export async function isFinished(path: string): Promise<boolean> {
  const { config } = await RunFolder.read(path);
  return (await checkpointsOf(path)).at(-1) === config.stages.at(-1);
}

/** Names, the newest last. */
async function checkpointsOf(path: string): Promise<string[]> {
  const folder = join(path, 'checkpoints');
  const status = readStatus(path);
  if (status === null || !isAlive(status)) await putBackCheckpoints(folder);
  return checkpointNames(folder);
}

async function lifeOf(
  path: string,
  { from, trustCode = false }: ResumeOptions,
): Promise<RunSource> {
  const { config, base, notes } = await RunFolder.read(path);
  const critic = await namedByCritic(config.critic, base);
  const code = [...namedBy(config, base), ...critic, ...linksIn(path)];
  refuseForeign(path, code, trustCode, '--trust-code (TypeScript: trustCode: true)');
  const folder = join(path, 'checkpoints');
  const names = await checkpointsOf(path);
  if (from !== undefined && !names.includes(from)) {
    const close = nearest(from, names);
    const hint = close ? `; did you mean "${close}"?` : '.';
    throw new UserError(
      `${path} has no checkpoint "${from}"${hint} It has: ${names.join(', ') || 'none'}`,
    );
  }
  const name = from ?? newestCheckpoint(names);
  if (name === config.stages.at(-1))
    throw new UserError(`${path} is finished: there is nothing to resume`);
  const found = name === null ? null : await readCheckpoint(join(folder, name));
  const best = found !== null && (await holdsBestOf(folder, found));
  // Where the best models so far are gone, the next ones are the best.
  const checkpoint =
    best || found === null ? found : { ...found, progress: withoutBest(found.progress) };
  const past = pastSettings(path);
  const open = async () => {
    // Read again, now that no other process works in the folder.
    const now = [await checkpointsOf(path), pastSettings(path)];
    if (JSON.stringify(now) !== JSON.stringify([names, past]))
      throw new UserError(
        `${path} was changed while this began to resume it (by another process, or genac set): ` +
          'resume it again',
      );
    // What lies after it belongs to a future that will not be.
    for (const later of names.slice(names.indexOf(name ?? '') + 1))
      await rm(join(folder, later), { recursive: true, force: true });
    if (!best) await rm(join(folder, 'best'), { recursive: true, force: true });
    if (trustCode) rememberOwnRun(path, code); // from now on it is this user's
    return RunFolder.reopen(path, checkpoint);
  };
  return { config, base, checkpoint, past, open, notes };
}

/** In the order in which a run comes by them: a life may go on from before where one was set. */
const pastSettings = (path: string) => readSettings(path).sort((a, b) => orderOf(a) - orderOf(b));

const withoutBest = ({ best_success: _, ...rest }: Checkpoint['progress']) => rest;

function begin(
  folder: string,
  find: () => Promise<RunSource>,
  { workers }: Pick<RunOptions, 'workers'>,
): Run {
  const events = new EventStream();
  const stopping = new AbortController();
  let steering: Steering | null = null;
  const early: ((steering: Steering) => void)[] = [];
  /** Now, or as soon as the run has got that far. */
  const steer = (what: (steering: Steering) => void) => {
    if (steering) what(steering);
    else early.push(what);
  };
  const ready = (made: Steering) => {
    steering = made;
    for (const what of early) what(made);
  };
  const run: Run = {
    folder,
    finished: find().then((source) =>
      runLifecycle(source, { events, signal: stopping.signal, workers, ready, run: () => run }),
    ),
    pause: () => steer((s) => s.pause()),
    resume: () => steer((s) => s.resume()),
    // In the promise's function: what is refused rejects it, now or as soon as the run has got that
    // far.
    set: (values) =>
      new Promise((tell, fail) =>
        steer((s) => {
          try {
            s.set(values).then(tell, fail);
          } catch (error) {
            fail(error);
          }
        }),
      ),
    async stop() {
      stopping.abort();
      await run.finished.catch(() => {});
    },
    [Symbol.asyncIterator]: () => events[Symbol.asyncIterator](),
  };
  run.finished.then(
    () => events.close(),
    (error) => events.close(error),
  );
  return run;
}
