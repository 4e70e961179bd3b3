/**
 * `run.lock` of a run folder: only one process at a time works in it. One hard link makes it, which
 * is atomic. It is taken over only if its holder is dead.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { UserError } from '../user-error.ts';
import { isAlive, processIsAlive, processStart, readStatus } from './status.ts';

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

/** Number of tries to take over a dead holder's lock, while other processes may try too. */
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
  const guard = join(folder, 'run.lock.taking-over');
  const nonce = randomBytes(8).toString('hex');
  const me: Holder = {
    ...{ pid: process.pid, process_start: processStart(process.pid), host: hostname(), nonce },
  };
  const claim = `${lock}.${nonce}`;
  writeFileSync(claim, JSON.stringify(me));
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (linked(claim, lock)) return { release: () => releaseIfMine(lock, nonce) };
      refuseIfAlive(folder, readHolder(lock), whatToDo);
      // One process at a time checks again and removes the dead holder's lock.
      if (linked(claim, guard)) {
        try {
          const holder = readHolder(lock);
          refuseIfAlive(folder, holder, whatToDo);
          rmSync(lock, { force: true });
        } finally {
          rmSync(guard, { force: true });
        }
      } else if (!holderIsAlive(folder, readHolder(guard))) rmSync(guard, { force: true });
      await sleep(10);
    }
  } finally {
    rmSync(claim, { force: true });
  }
  throw new UserError(`${lock} can't be taken over from a process that is dead: remove it`);
}

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

/** null: the lock is gone, or was cut off in writing. */
function readHolder(path: string): Holder | null {
  try {
    return holderSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return null;
  }
}

function holderIsAlive(folder: string, holder: Holder | null): boolean {
  if (holder === null) return false;
  if (holder.host === hostname()) return processIsAlive(holder.pid, holder.process_start);
  // The process is on another host; its run renews its status.
  const status = readStatus(folder);
  return status !== null && isAlive(status);
}

function refuseIfAlive(folder: string, holder: Holder | null, whatToDo: string): void {
  if (holder === null || !holderIsAlive(folder, holder)) return;
  throw new UserError(
    `${folder} is in use by process ${holder.pid} on ${holder.host}: ${whatToDo}`,
  );
}

function releaseIfMine(lock: string, nonce: string): void {
  if (readHolder(lock)?.nonce === nonce) rmSync(lock, { force: true });
}
