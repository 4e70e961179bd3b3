// Compiles the controller to JavaScript that plain Node runs. Every module of `src` and `plugins`
// becomes one file at the same place, and so does every needed module of npm packages that are pure
// JavaScript. Files that are found relative to a module are then found as in the checkout.
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build } from 'vite';
import { root } from '../ensure.mjs';
import { copyNodePackages } from './node-packages.mjs';

/**
 * Copied by `copyNodePackages`, because they are more than modules; or left out: pythonia is for
 * scripts, and msgpackr works without its addon.
 */
const external = ['zeromq', 'uplot', 'pythonia', 'msgpackr-extract'];

/** Files that modules read, other than JSON that they import. */
const read = [
  'src/bridge/schema.json',
  'examples/miniature.yaml',
  'src/cli/genac.mjs',
  'src/extensions/import-hooks.mjs',
  'LICENSE',
];

function plugins() {
  return ['plugins/tasks', 'plugins/critics'].flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${folder}/${name}`),
  );
}

/**
 * Writes the controller into a folder that is empty or missing; `node FOLDER/src/cli/genac.mjs` is
 * then the command.
 *
 * @param {string} folder
 */
export async function compileController(folder) {
  await build({
    configFile: false,
    root,
    logLevel: 'warn',
    ssr: { noExternal: true, external },
    build: {
      ssr: true,
      target: 'node20',
      outDir: folder,
      emptyOutDir: true,
      minify: false,
      license: { fileName: 'LICENSES-of-npm-packages.md' },
      rolldownOptions: {
        // All of zod, because a user's own task or critic imports it.
        input: ['src/cli/main.ts', 'src/index.ts', ...plugins(), 'zod'],
        output: { preserveModules: true, preserveModulesRoot: root, entryFileNames: '[name].js' },
      },
    },
  });
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  for (const file of read) {
    mkdirSync(join(folder, dirname(file)), { recursive: true });
    copyFileSync(join(root, file), join(folder, file));
  }
  copyNodePackages(folder);
}
