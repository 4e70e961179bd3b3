/** Imports the files that a user names: tasks, critics, rewards. */
import * as nodeModule from 'node:module';
import { pathToFileURL } from 'node:url';
import { atLeast } from './setup/ensure.mjs';

/** Whether this runs as JavaScript, as in a wheel, without tsx. */
export const compiled = import.meta.url.endsWith('.js');

/** What such a file may import by name where there is no npm: GenAC's API, and zod for its options. */
const packages: Readonly<Record<string, string>> = {
  genac: new URL('./index.js', import.meta.url).href,
  zod: new URL('../node_modules/zod/index.js', import.meta.url).href,
};

type Resolve = (specifier: string, context: unknown) => unknown;
interface Hooks {
  registerHooks(hooks: { resolve(specifier: string, context: unknown, next: Resolve): unknown }): void;
}

let hooked = false;

/**
 * The module that a file is. Compiled, GenAC leaves TypeScript and the names above to Node, which has both from 22.18 on.
 * Throws what the file throws, and an error that tells the version where Node is older.
 */
export async function importOwn(file: string): Promise<object> {
  if (compiled && !hooked) {
    const { node } = process.versions;
    if (!atLeast(node, [22, 18])) {
      throw new Error(
        `where GenAC was installed by pip, a file of your own needs Node 22.18 or newer, and this is Node ${node}`,
      );
    }
    (nodeModule as unknown as Hooks).registerHooks({
      resolve: (specifier, context, next) => next(packages[specifier] ?? specifier, context),
    });
    hooked = true;
  }
  return (await import(pathToFileURL(file).href)) as object;
}
