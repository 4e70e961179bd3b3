/** Paths from users: `~` is the home folder, and relative paths are resolved once. */
import { homedir } from 'node:os';
import { isAbsolute, resolve } from 'node:path';

const home = /^~(?=\/|$)/;

/** `~/models` -> `/home/me/models`; any other path as it is. */
export const expandHome = (path: string): string =>
  home.test(path) ? path.replace(home, homedir()) : path;

/** Resolves a path relative to a folder. */
export const pathFrom = (base: string, path: string): string => resolve(base, expandHome(path));

/** Returns whether a text is a path (`./x`, `../x`, `/x`, `~/x`) and not a name. */
export const isWrittenAsPath = (text: string): boolean =>
  text.startsWith('.') || isAbsolute(text) || home.test(text);
