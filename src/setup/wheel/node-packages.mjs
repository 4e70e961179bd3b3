// Copies npm packages into the wheel without files that nothing reads: types, sources, maps, and
// builds for rare systems.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from '../ensure.mjs';

const files = {
  uplot: ['dist/uPlot.iife.min.js', 'dist/uPlot.min.css', 'LICENSE'],
  'cmake-ts': ['build/loader.js'], // finds zeromq's addon
  zeromq: [
    ...['index', 'errors', 'load-addon', 'native', 'util', 'draft'].map((name) => `lib/${name}.js`),
    ...['LICENSE.txt', 'LICENSE_MPL-2.0.txt'],
  ],
};

const systems = [
  'linux x64',
  'linux arm64',
  'darwin x64',
  'darwin arm64',
  'win32 x64',
  'win32 arm64',
];

/** @param {string} folder of the controller */
export function copyNodePackages(folder) {
  for (const [name, wanted] of Object.entries(files)) {
    for (const file of ['package.json', ...wanted]) copy(folder, `node_modules/${name}/${file}`);
  }
  copyAddons(folder);
}

/**
 * One addon for each system, that of the newest Node. All use Node-API, so each works with every
 * Node, and zeromq also tries the newest first.
 */
function copyAddons(folder) {
  const build = 'node_modules/zeromq/build';
  const manifest = JSON.parse(readFileSync(join(root, build, 'manifest.json'), 'utf8'));
  const newest = new Map();
  for (const [key, file] of Object.entries(manifest)) {
    const { os, arch, libc, abi } = JSON.parse(key);
    if (!systems.includes(`${os} ${arch}`)) continue;
    const system = `${os} ${arch} ${libc}`;
    if (abi > (newest.get(system)?.abi ?? 0)) newest.set(system, { abi, key, file });
  }
  const kept = {};
  for (const { key, file } of newest.values()) {
    kept[key] = file.replaceAll('\\', '/');
    copy(folder, `${build}/${kept[key]}`);
  }
  writeFileSync(join(folder, build, 'manifest.json'), JSON.stringify(kept));
}

function copy(folder, file) {
  mkdirSync(dirname(join(folder, file)), { recursive: true });
  copyFileSync(join(root, file), join(folder, file));
}
