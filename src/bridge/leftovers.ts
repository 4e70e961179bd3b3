/** Folders of sockets whose process was killed before it could remove them. */
import { readdir, rm, stat } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';

/** Begins the name of a folder of this process; `mkdtemp` adds the rest. */
export const folderPrefix = `genac-${process.pid}-`;
const NAME = /^genac-(\d+)-[A-Za-z0-9]{6}$/;
/**
 * A process of another pid namespace that shares the folder may be about to bind; it has had its
 * time after this.
 */
const YOUNG_MS = 60_000;

/**
 * Removes the folders in `parent` whose process is no longer alive and whose socket has no listener
 * on (a process in another container may have a pid that means nothing here). What can't be removed
 * is left.
 */
export async function removeLeftovers(parent: string): Promise<void> {
  const names = await readdir(parent).catch(() => []);
  for (const name of names) {
    const pid = Number(NAME.exec(name)?.[1] ?? Number.NaN);
    if (Number.isNaN(pid) || isAlive(pid)) continue;
    const folder = join(parent, name);
    try {
      const { mtimeMs } = await stat(folder);
      if (Date.now() - mtimeMs < YOUNG_MS || (await isListening(join(folder, 'socket')))) continue;
      await rm(folder, { recursive: true });
    } catch {
      // Another user's, or another process was faster.
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH');
  }
}

/** Everything but a clear no counts as a yes. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}
