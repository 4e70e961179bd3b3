/**
 * Text files that others may have made or replaced by something else. They are opened without
 * blocking, so that a FIFO can't hold the reader, and refused with one sentence.
 */
import {
  appendFileSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  type Stats,
  statSync,
} from 'node:fs';
import { UserError } from '../user-error.ts';

const MIB = 2 ** 20;
/** Configs, statuses and the like are far smaller. */
const LONGEST_FILE = 16 * MIB;
const CHUNK = 256 * 1024;

/**
 * Opens a regular file for reading. @throws UserError that names the file and says what it is
 * instead
 */
export function openFile(path: string): number {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    throw unreadable(path, causeWords(path, error as NodeJS.ErrnoException), error);
  }
  const stat = fstatSync(file);
  if (stat.isFile()) return file;
  closeSync(file);
  throw unreadable(path, `it is ${kindOf(stat)}, not a file`);
}

/**
 * Refuses a folder, a FIFO or a link in place of a file: a link would make the writer change
 * another file. A missing file is fine.
 */
export function refuseNoFile(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat && !stat.isFile())
    throw new UserError(`${path} can't be used: it is ${kindOf(stat)}, not a file`);
}

/** Refuses anything but a folder. A missing folder is fine. */
export function refuseNoFolder(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat && !stat.isDirectory())
    throw new UserError(`${path} can't be used: it is ${kindOf(stat)}, not a folder`);
}

/** Appends to a file, and makes it if it is missing. @throws UserError that names the file */
export function appendText(path: string, text: string): void {
  const { O_WRONLY, O_APPEND, O_CREAT } = constants;
  let file: number | null = null;
  try {
    file = openSync(path, O_WRONLY | O_APPEND | O_CREAT | (constants.O_NONBLOCK ?? 0), 0o666);
    const stat = fstatSync(file);
    if (!stat.isFile()) throw new UserError(`it is ${kindOf(stat)}, not a file`);
    appendFileSync(file, text);
  } catch (error) {
    const why = causeWords(path, error as NodeJS.ErrnoException);
    throw new UserError(`${path} can't be written: ${why}`, { cause: error });
  } finally {
    if (file !== null) closeSync(file);
  }
}

/** Yields the bytes of a file in chunks that share one buffer. */
export function* chunksOf(path: string): Generator<Buffer> {
  const file = openFile(path);
  try {
    const chunk = Buffer.alloc(CHUNK);
    for (;;) {
      const count = readSync(file, chunk, 0, CHUNK, null);
      if (count === 0) return;
      yield chunk.subarray(0, count);
    }
  } finally {
    closeSync(file);
  }
}

/**
 * Reads the text of a file of at most `longest` bytes. @throws UserError that names the file and
 * says why it can't be read
 */
export function readText(path: string, longest = LONGEST_FILE): string {
  const parts: Buffer[] = [];
  let length = 0;
  for (const chunk of chunksOf(path)) {
    length += chunk.length;
    if (length > longest)
      throw unreadable(
        path,
        `it has more than ${longest / MIB} MiB, and no such file is as large as that`,
      );
    parts.push(Buffer.from(chunk));
  }
  const text = textOf(Buffer.concat(parts));
  if (text === null) throw unreadable(path, 'it is not text (not UTF-8)');
  return text;
}

/** Decodes UTF-8; null: the bytes are not UTF-8. */
export function textOf(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

const unreadable = (path: string, why: string, cause?: unknown) =>
  new UserError(`${path} can't be read: ${why}`, { cause });

function causeWords(path: string, error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') return 'there is no such file or folder';
  if (error.code === 'EACCES') return 'its rights do not allow it';
  if (error.code === 'ENOSPC') return 'the disk is full: make room, then resume';
  if (error.code === 'ENXIO') return `it is ${kindOf(statSync(path))}, not a file`;
  return error.message;
}

/** For example `a folder` or `a FIFO (a named pipe)`. */
function kindOf(stat: Stats): string {
  if (stat.isFile()) return 'a file';
  if (stat.isDirectory()) return 'a folder';
  if (stat.isFIFO()) return 'a FIFO (a named pipe)';
  if (stat.isSocket()) return 'a socket';
  return 'a device';
}
