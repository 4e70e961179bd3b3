// `npm run wheel`: builds one Python wheel in `dist/` that pip installs without npm: the packages
// genac_trl and genac_bridge, with the compiled controller in the latter.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, venvPython } from '../ensure.mjs';
import { compileController } from './compile.mjs';

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const pyproject = readFileSync(join(root, 'plugins/trl/pyproject.toml'), 'utf8');
if (!pyproject.includes(`\nversion = "${version}"\n`)) {
  console.error(
    `wheel: package.json says version ${version}, and plugins/trl/pyproject.toml another`,
  );
  process.exit(1);
}

const stage = mkdtempSync(join(tmpdir(), 'genac-wheel-'));
try {
  copyFileSync(join(root, 'plugins/trl/pyproject.toml'), join(stage, 'pyproject.toml'));
  copyFileSync(join(root, 'LICENSE'), join(stage, 'LICENSE'));
  copyPackage('plugins/trl/genac_trl');
  copyPackage('python_bridge/genac_bridge');
  await compileController(join(stage, 'genac_bridge', 'controller'));
  const options = ['--no-deps', '--no-build-isolation', '--quiet', '--disable-pip-version-check'];
  const { status } = spawnSync(
    venvPython,
    ['-m', 'pip', 'wheel', stage, ...options, '-w', 'dist'],
    {
      cwd: root,
      stdio: 'inherit',
    },
  );
  if (status !== 0) throw new Error(`pip wheel failed (exit code ${status})`);
  const wheel = join('dist', `genac_trl-${version}-py3-none-any.whl`);
  console.log(`${wheel}: ${(statSync(join(root, wheel)).size / 1e6).toFixed(1)} MB`);
} finally {
  rmSync(stage, { recursive: true, force: true });
}

/** @param {string} folder in the checkout */
function copyPackage(folder) {
  if (!existsSync(join(root, folder))) throw new Error(`there is no ${folder}`);
  cpSync(join(root, folder), join(stage, folder.split('/').at(-1)), {
    recursive: true,
    filter: (path) => !path.includes('__pycache__'),
  });
}
