/** Imports the files that a user names: tasks, critics, rewards. */
import * as nodeModule from 'node:module';
import { pathToFileURL } from 'node:url';
import { atLeast } from '../setup/ensure.mjs';
import { UserError } from '../user-error.ts';
import { initialize, resolveSync } from './import-hooks.mjs';

/** Whether this runs as JavaScript, as in a wheel, without tsx. */
export const compiled = import.meta.url.endsWith('.js');

/** What such a file may import by name, wherever it lies: GenAC's API, and zod for its options. */
const packages: Readonly<Record<string, string>> = {
  genac: new URL(compiled ? '../index.js' : '../index.ts', import.meta.url).href,
  zod: new URL('../../node_modules/zod/index.js', import.meta.url).href,
};

type Resolve = (specifier: string, context: unknown) => unknown;
interface Hooks {
  registerHooks?(hooks: {
    resolve(specifier: string, context: unknown, next: Resolve): unknown;
  }): void;
}

let hooked = false;

function hook(): void {
  if (hooked) return;
  hooked = true;
  const { registerHooks } = nodeModule as unknown as Hooks;
  if (registerHooks) {
    initialize(packages);
    registerHooks({ resolve: resolveSync });
  } else nodeModule.register(new URL('./import-hooks.mjs', import.meta.url), { data: packages });
}

/**
 * The module that a file is: an ES module in JavaScript or TypeScript, with or without a package
 * around it (or CommonJS, where it has no `import` or `export`). Throws what the file throws, and
 * an error that tells the version where Node is too old for TypeScript.
 */
export async function importOwn(file: string): Promise<object> {
  const { node } = process.versions;
  if (compiled && /\.[cm]?ts$/.test(file) && !atLeast(node, [22, 18])) {
    throw new UserError(
      'where GenAC was installed by pip, a file of your own needs Node 22.18 or newer, and ' +
        `this is Node ${node}, for it is TypeScript: write it in JavaScript, or install a ` +
        'newer Node',
    );
  }
  hook();
  return (await import(pathToFileURL(file).href)) as object;
}
