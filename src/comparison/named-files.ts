/** Files that options name: what was kept is out of date where one of them was changed. */
import { statSync } from 'node:fs';
import { isWrittenAsPath, pathFrom } from '../files/paths.ts';
import { fingerprint } from './lines.ts';

/**
 * Sizes and times of the files that options name, at any depth: data, tasks, critics and reward
 * functions (`./rewards.py:correct`). A folder counts where it is written as a path. Files that
 * these import are not followed.
 *
 * @param base folder that they are relative to
 */
export function namedFiles(options: unknown, base: string): unknown[] {
  if (typeof options === 'string') {
    const withoutName = options.replace(/(\.py):\w+$/, '$1');
    const found = [options, withoutName].map((text) => changesOf(text, base));
    return found.slice(0, withoutName === options ? 1 : 2).filter((one) => one !== null);
  }
  if (typeof options !== 'object' || options === null) return [];
  // A cache is written by the work itself.
  const read = Object.entries(options).filter(([name]) => name !== 'cache');
  return read.flatMap(([, value]) => namedFiles(value, base));
}

function changesOf(text: string, base: string): unknown {
  // Longer texts are templates and the like, and no path may have a NUL.
  if (text === '' || text.length > 4096 || text.includes('\0')) return null;
  const path = pathFrom(base, text);
  try {
    const stat = statSync(path);
    if (stat.isFile()) return [path, stat.size, stat.mtimeMs];
    return stat.isDirectory() && isWrittenAsPath(text) ? fingerprint(path) : null;
  } catch {
    return null; // a name of something else, or a path that its user refuses in words
  }
}
