import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** The last lines of a text file, of its last 8 KiB; empty if it can't be read. */
export function tailOf(path: string, lines = 12): string {
  try {
    const file = openSync(path, 'r');
    try {
      const { size } = fstatSync(file);
      const buffer = Buffer.alloc(Math.min(size, 8192));
      readSync(file, buffer, 0, buffer.length, size - buffer.length);
      return buffer.toString('utf8').trimEnd().split('\n').slice(-lines).join('\n');
    } finally {
      closeSync(file);
    }
  } catch {
    return '';
  }
}
