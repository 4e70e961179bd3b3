/**
 * The files of a folder with size and digest, so that a checkpoint that was cut off or edited is
 * noticed before it is used.
 */
import { createHash } from 'node:crypto';
import { copyFile, link, mkdir, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { refuseNoFile } from './text-file.ts';

/** Path within the folder -> bytes, and the first 32 hex digits of a SHA-256. */
export type FileList = Readonly<Record<string, readonly [number, string]>>;

const BLOCK = 2 ** 20;
/**
 * Files up to this size are digested whole. Of larger ones, 64 blocks of 1 MiB are digested, evenly
 * spread, first and last included.
 */
const WHOLE = 64 * BLOCK;
const BLOCKS = 64;

export const textDigest = (text: string): string =>
  createHash('sha256').update(text).digest('hex').slice(0, 32);

/** Returns all files of a folder except its `controller.json`. */
export async function filesOf(folder: string): Promise<FileList> {
  const files: Record<string, readonly [number, string]> = {};
  const walk = async (below: string): Promise<void> => {
    const entries = await readdir(join(folder, below), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      if (entry.isDirectory()) await walk(path);
      else if (path !== 'controller.json') files[path] = await digestOf(join(folder, path));
    }
  };
  await walk('');
  return files;
}

async function digestOf(path: string): Promise<readonly [number, string]> {
  refuseNoFile(path);
  const { size } = await stat(path);
  const hash = createHash('sha256').update(String(size));
  const file = await open(path, 'r');
  try {
    const block = Buffer.alloc(Math.min(BLOCK, size));
    const count = size <= WHOLE ? Math.ceil(size / BLOCK) : BLOCKS;
    for (let i = 0; i < count; i++) {
      const from = size <= WHOLE ? i * BLOCK : Math.floor((i * (size - BLOCK)) / (BLOCKS - 1));
      const { bytesRead } = await file.read(block, 0, block.length, from);
      hash.update(block.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
  return [size, hash.digest('hex').slice(0, 32)];
}

/**
 * Describes the first difference; null: none. Added files count, because a loader might read them.
 */
export function firstDifference(written: FileList, found: FileList): string | null {
  for (const [path, [size, digest]] of Object.entries(written)) {
    const now = found[path];
    if (now === undefined) return `${path} is missing`;
    if (now[0] !== size)
      return `${path} has ${now[0]} bytes instead of ${size}: it was cut off or edited`;
    if (now[1] !== digest) return `${path} was edited`;
  }
  const added = Object.keys(found).find((path) => !(path in written));
  return added === undefined ? null : `${added} was added`;
}

/** Copies a folder's files by hard links if the file system has them, else by copying. */
export async function linkFolder(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await linkFolder(source, target);
    else await link(source, target).catch(() => copyFile(source, target));
  }
}
