/**
 * `run.lock` of a run folder: only one process at a time works in it. One hard link makes it, which
 * is atomic. It is taken over only if its holder is dead.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { UserError } from '../user-error.ts';
import { isAlive, processIsAlive, processStart, readStatus, SILENCE_MS } from './status.ts';

const holderSchema = z.strictObject({
  pid: z.int(),
  process_start: z.string().nullable(),
  host: z.string(),
  /** Distinguishes two locks of one process. */
  nonce: z.string(),
});
type Holder = z.infer<typeof holderSchema>;

export interface RunLock {
  /** May be called twice. */
  release(): void;
}

/** A holder tells other hosts, which can't see its process, that it lives. */
const RENEWAL_MS = 2000;

/** Number of looks, while another process takes over a dead holder's lock. */
const ATTEMPTS = 100;

const endTheRun = (folder: string) =>
  `stop that run first (genac stop ${folder}); genac status ${folder} shows what it does`;

/**
 * Locks a run folder, and makes it if it is missing.
 *
 * @param whatToDo words for the error
 * @throws UserError that names the process that works in it
 */
export async function lockRun(folder: string, whatToDo = endTheRun(folder)): Promise<RunLock> {
  mkdirSync(folder, { recursive: true });
  const lock = join(folder, 'run.lock');
  const nonce = randomBytes(8).toString('hex');
  const me: Holder = {
    ...{ pid: process.pid, process_start: processStart(process.pid), host: hostname(), nonce },
  };
  const claim = `${lock}.${nonce}`;
  writeFileSync(claim, JSON.stringify(me));
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (taken(folder, claim, lock)) return held(lock, nonce);
      const content = contentOf(lock);
      if (content !== null) refuseIfAlive(folder, lock, holderIn(content), whatToDo);
      await sleep(10);
    }
  } finally {
    rmSync(claim, { force: true });
  }
  throw new UserError(`${lock} can't be taken over from a process that is dead: remove it`);
}

function held(lock: string, nonce: string): RunLock {
  const timer = setInterval(() => renew(lock, nonce), RENEWAL_MS);
  timer.unref();
  return {
    release() {
      clearInterval(timer);
      if (isMine(lock, nonce)) rmSync(lock, { force: true });
    },
  };
}

/** Without an error: what writes the results says that a disk is full or gone. */
function renew(lock: string, nonce: string): void {
  const now = new Date();
  try {
    if (isMine(lock, nonce)) utimesSync(lock, now, now);
  } catch {}
}

/**
 * Takes a lock that is free or that a dead process holds. Only who holds the lock of this very
 * content, `PATH.DIGEST`, may put its own in the place of a dead one's, so that no other's is ever
 * removed. That lock is taken in the same way, for its holder may die too.
 *
 * @returns false: somebody else holds it, or takes it over at the moment
 */
function taken(folder: string, claim: string, path: string): boolean {
  if (linked(claim, path)) return true;
  const held = contentOf(path);
  if (held === null || holderIsAlive(folder, path, holderIn(held))) return false;
  const right = `${path}.${digestOf(held)}`;
  if (!taken(folder, claim, right)) return false;
  try {
    // It may have been taken over since it was read.
    if (contentOf(path) !== held) return false;
    linkSync(claim, `${claim}.new`);
    renameSync(`${claim}.new`, path);
    return true;
  } finally {
    rmSync(right, { force: true });
  }
}

const digestOf = (content: string) =>
  createHash('sha256').update(content).digest('hex').slice(0, 16);

/** Returns false if it already exists. */
function linked(claim: string, path: string): boolean {
  try {
    linkSync(claim, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** null: there is no such file. */
function contentOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** null: it was cut off in writing. */
function holderIn(content: string): Holder | null {
  try {
    return holderSchema.parse(JSON.parse(content));
  } catch {
    return null;
  }
}

/** @param path of the lock, or of the right to take it over */
function holderIsAlive(folder: string, path: string, holder: Holder | null): boolean {
  if (holder === null) return false;
  if (holder.host === hostname()) return processIsAlive(holder.pid, holder.process_start);
  // The process is on another host: it renews the lock, and a run its status.
  const status = readStatus(folder);
  return (status !== null && isAlive(status)) || ageOf(path) < SILENCE_MS;
}

/** Milliseconds since it was renewed. */
function ageOf(path: string): number {
  const found = statSync(path, { throwIfNoEntry: false });
  return found ? Date.now() - found.mtimeMs : Number.POSITIVE_INFINITY;
}

function refuseIfAlive(
  folder: string,
  lock: string,
  holder: Holder | null,
  whatToDo: string,
): void {
  if (holder === null || !holderIsAlive(folder, lock, holder)) return;
  throw new UserError(
    `${folder} is in use by process ${holder.pid} on ${holder.host}: ${whatToDo}`,
  );
}

function isMine(lock: string, nonce: string): boolean {
  const content = contentOf(lock);
  return content !== null && holderIn(content)?.nonce === nonce;
}
