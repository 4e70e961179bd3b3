/**
 * Parts: pieces of work whose results are kept by what they depend on. A part that is finished is
 * never run again; one that was interrupted goes on where its work can (`work.ts`).
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOf } from '../comparison/lines.ts';
import type { WorkerGroup } from '../workers/local.ts';

export interface Part<R = unknown> {
  /** Lower case and `-`; the same for all seeds. */
  readonly name: string;
  readonly seed: number;
  /** Raised when the recipe in `run` changes, so that no older result is taken for a new one. */
  readonly version: number;
  /** All that the result depends on, apart from the seed and from `after`, as plain data. */
  readonly options: unknown;
  /** Parts that are finished before this one begins. */
  readonly after: readonly Part[];
  /** @returns plain data, which is kept as JSON */
  run(work: Work): Promise<R>;
}

/** What a part works with. */
export interface Work extends Results {
  /** Its own folder, which may hold what an interrupted try left. */
  readonly folder: string;
  /** One worker, named `worker`, of one thread; of given models those of their config. */
  readonly workers: WorkerGroup;
  /** Folder that the files which configs name are relative to. */
  readonly base: string;
  /** Finished runs keep the checkpoints that other parts read, and no others. */
  readonly lean: boolean;
  /** Aborted: end soon, so that the same command can go on. */
  readonly signal: AbortSignal;
  log(text: string): void;
}

/** Where parts work: one at a time in each lane. */
export interface Lane {
  take(): Promise<WorkerGroup>;
  give(workers: WorkerGroup): Promise<void>;
}

/** Gives the workers back however the work ends. */
export async function inLane<T>(lane: Lane, use: (workers: WorkerGroup) => Promise<T>): Promise<T> {
  const workers = await lane.take();
  return use(workers).finally(() => lane.give(workers));
}

/** Of finished parts. */
export interface Results {
  resultOf<R>(part: Part<R>): R;
  folderOf(part: Part): string;
}

/** Finished, in seconds; the time of an earlier, interrupted try is not in it. */
interface Kept {
  readonly result: unknown;
  readonly seconds: number;
}

const keys = new WeakMap<Part, string>();

/** A digest of all that the part's result depends on. */
export function keyOf(part: Part): string {
  const known = keys.get(part);
  if (known) return known;
  const { name, seed, version, options, after } = part;
  const key = digestOf([name, seed, version, options, after.map(keyOf)]);
  keys.set(part, key);
  return key;
}

/** The parts and all that they come after, each once, in an order in which they can be run. */
export function inOrder(wanted: readonly Part[]): Part[] {
  const found = new Map<string, Part>();
  const add = (part: Part) => {
    if (found.has(keyOf(part))) return;
    part.after.forEach(add);
    found.set(keyOf(part), part);
  };
  wanted.forEach(add);
  return [...found.values()];
}

export interface RunParts extends Pick<Work, 'base' | 'lean'> {
  /** Of the parts, each in its `NAME-KEY/`. */
  readonly folder: string;
  /** So many parts run at a time. */
  readonly lanes: readonly Lane[];
  readonly signal: AbortSignal;
  log(text: string): void;
}

export interface Finished extends Results {
  /** Seconds of each part, by its folder's name. */
  readonly seconds: Readonly<Record<string, number>>;
}

const folderName = (part: Part) => `${part.name}-${keyOf(part)}`;

/**
 * Runs what is not finished yet, independent parts at the same time.
 *
 * @throws the first error of a part, once the other lanes have ended; the signal's reason
 */
export async function runParts(wanted: readonly Part[], given: RunParts): Promise<Finished> {
  const parts = inOrder(wanted);
  const kept = new Map<string, Kept>();
  const folderOf = (part: Part) => join(given.folder, folderName(part));
  for (const part of parts) {
    const known = read(folderOf(part), given.log);
    if (known) kept.set(keyOf(part), known);
  }
  const results: Results = {
    folderOf,
    resultOf<R>(part: Part<R>): R {
      const known = kept.get(keyOf(part));
      if (!known) throw new Error(`${folderName(part)} is used by a part that does not name it`);
      return known.result as R;
    },
  };
  await runLanes(parts, kept, results, given);
  const seconds = parts.map((part) => [folderName(part), kept.get(keyOf(part))!.seconds] as const);
  return { ...results, seconds: Object.fromEntries(seconds) };
}

async function runLanes(
  parts: readonly Part[],
  kept: Map<string, Kept>,
  results: Results,
  { lanes, base, lean, signal: stop, log }: RunParts,
): Promise<void> {
  const waiting = new Set(parts.filter((part) => !kept.has(keyOf(part))));
  const failing = new AbortController();
  const signal = AbortSignal.any([stop, failing.signal]);
  log(`${kept.size} of ${parts.length} parts are done already`);
  const began = performance.now();
  let wake: (() => void)[] = [];
  const one = async (part: Part, workers: WorkerGroup) => {
    const from = performance.now();
    const folder = results.folderOf(part);
    const label = `${part.name}, seed ${part.seed}`;
    await mkdir(folder, { recursive: true });
    const result = await part.run({
      ...{ ...results, folder, workers, base, lean, signal },
      log: (text) => log(`${label}: ${text}`),
    });
    const done = { result, seconds: (performance.now() - from) / 1000 };
    await write(folder, done);
    // As another process will read it.
    kept.set(keyOf(part), JSON.parse(JSON.stringify(done)) as Kept);
    log(
      `${label}: done in ${done.seconds.toFixed(0)} s ` +
        `(${kept.size} of ${parts.length} parts, ${((performance.now() - began) / 1000).toFixed(0)} s)`,
    );
  };
  const work = async (lane: Lane) => {
    while (waiting.size > 0 && !signal.aborted) {
      const next = [...waiting].find(({ after }) => after.every((part) => kept.has(keyOf(part))));
      if (next === undefined) {
        await new Promise<void>((resolve) => wake.push(resolve));
        continue;
      }
      waiting.delete(next);
      try {
        await inLane(lane, (workers) => one(next, workers));
      } catch (error) {
        failing.abort(error);
        throw error;
      } finally {
        for (const resolve of wake) resolve();
        wake = [];
      }
    }
  };
  const ended = await Promise.allSettled(lanes.map(work));
  stop.throwIfAborted();
  const failed = ended.find(({ status }) => status === 'rejected');
  if (failed) throw failing.signal.reason;
}

/** null: there is none, or what a crash of the machine left of it. */
function read(folder: string, log: (text: string) => void): Kept | null {
  const path = join(folder, 'result.json');
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Kept;
  } catch (error) {
    log(`${path} can't be read (${(error as Error).message}): the part is made again`);
    return null;
  }
}

/** Whole or not at all, as long as the machine runs. */
async function write(folder: string, kept: Kept): Promise<void> {
  const path = join(folder, 'result.json');
  await writeFile(`${path}.unfinished`, `${JSON.stringify(kept)}\n`);
  await rename(`${path}.unfinished`, path);
}
