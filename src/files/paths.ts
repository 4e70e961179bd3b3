/** Paths that a user writes: `~` is the home folder, and what is relative is resolved once. */
import { homedir } from 'node:os';
import { isAbsolute, resolve } from 'node:path';

const home = /^~(?=\/|$)/;

/** `~/models` -> `/home/me/models`; any other path as it is. */
export const expandHome = (path: string): string =>
  home.test(path) ? path.replace(home, homedir()) : path;

/** The absolute path of one that is written relative to a folder. */
export const pathFrom = (base: string, path: string): string => resolve(base, expandHome(path));

/** Is this written as a path (`./x`, `../x`, `/x`, `~/x`), and not as a name? */
export const isWrittenAsPath = (text: string): boolean =>
  text.startsWith('.') || isAbsolute(text) || home.test(text);
