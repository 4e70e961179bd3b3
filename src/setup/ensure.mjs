// Installs what a command needs: npm packages, and a virtual environment with the worker's package.
// It is plain JavaScript with Node's own modules, because it runs before anything is installed. It
// writes nothing outside the checkout except the package managers' own caches. The second run takes
// a fraction of a second.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const venv = join(root, '.venv');
export const venvPython =
  process.platform === 'win32' ? join(venv, 'Scripts', 'python.exe') : join(venv, 'bin', 'python');

/** An error that is printed as one sentence, without a stack. */
export class SetupError extends Error {}

/** @param {string} version such as `20.19.1` @param {number[]} least */
export function atLeast(version, least) {
  const numbers = version.split('.').map(Number);
  for (let i = 0; i < least.length; i++) {
    if ((numbers[i] ?? 0) !== least[i]) return (numbers[i] ?? 0) > least[i];
  }
  return true;
}

/** @param {string} version */
export function checkNode(version) {
  if (atLeast(version, [20, 19])) return;
  throw new SetupError(
    `GenAC needs Node 20.19 or newer, and this is Node ${version}: install a newer one from https://nodejs.org.`,
  );
}

const usualPythons = ['python3', 'python', 'python3.13', 'python3.12', 'python3.11', 'python3.10'];
const chosenPython = process.env.GENAC_BASE_PYTHON;

/**
 * Returns the first suitable Python on the PATH; if GENAC_BASE_PYTHON names one, that one or none.
 */
export function findBasePython(candidates = chosenPython ? [chosenPython] : usualPythons) {
  const seen = [];
  for (const candidate of candidates) {
    let version;
    try {
      version = execFileSync(
        candidate,
        ['-c', 'import platform; print(platform.python_version())'],
        {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      ).trim();
    } catch {
      continue;
    }
    if (!/^\d+\.\d+/.test(version)) continue;
    if (atLeast(version, [3, 10])) {
      checkVenv(candidate, version);
      return candidate;
    }
    seen.push(`${candidate} is ${version}`);
  }
  const missing =
    candidates.length === 1 ? `, and ${candidates[0]} can't be run` : ', and none is on the PATH';
  const found = seen.length > 0 ? ` (${seen.join(', ')})` : missing;
  throw new SetupError(
    `GenAC needs Python 3.10 or newer${found}: install one, or name it in GENAC_BASE_PYTHON.`,
  );
}

function checkVenv(python, version) {
  try {
    execFileSync(python, ['-c', 'import venv, ensurepip'], { stdio: 'ignore' });
  } catch {
    throw new SetupError(
      `${python} (${version}) can't make virtual environments: install its venv package (on Debian and Ubuntu: apt install python3-venv).`,
    );
  }
}

/** Fingerprint of the files that decide what is installed. */
function fingerprint(...files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(join(root, file)));
  return hash.digest('hex').slice(0, 16);
}

/**
 * Written last, inside its folder, so that an interrupted or removed installation does not count as
 * complete.
 */
const stampOf = (folder) => join(folder, '.genac-installed');
const isCurrent = (folder, print) =>
  existsSync(stampOf(folder)) && readFileSync(stampOf(folder), 'utf8') === print;

/** Runs a command; prints its title and output to the terminal. */
function step(title, command, args, options = {}) {
  const began = Date.now();
  console.error(`setup: ${title} ...`);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 2, 2],
      shell: process.platform === 'win32',
      ...options,
    });
    child.on('error', (error) => reject(new SetupError(`${title} failed: ${error.message}`)));
    child.on('exit', (code) => {
      if (code === 0) {
        console.error(`setup: ${title}: done in ${((Date.now() - began) / 1000).toFixed(0)} s`);
        resolve();
      } else
        reject(
          new SetupError(
            `${title} failed (exit code ${code}): \`${command} ${args.join(' ')}\` says why above. Mend that and run the same command again.`,
          ),
        );
    });
  });
}

async function ensureNodePackages() {
  const folder = join(root, 'node_modules');
  const print = fingerprint('package-lock.json', 'package.json');
  if (isCurrent(folder, print)) return;
  // `npm ci` empties the folder first, including an earlier mark.
  await step('npm packages', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(stampOf(folder), print);
}

async function ensurePython() {
  const files = [
    'python_bridge/constraints.txt',
    'python_bridge/requirements.lock',
    'python_bridge/pyproject.toml',
    'plugins/trl/pyproject.toml',
  ];
  const print = fingerprint(...files);
  if (isCurrent(venv, print)) return;
  rmSync(stampOf(venv), { force: true });
  if (!runs(venvPython, ['-m', 'pip', '--version'])) {
    rmSync(venv, { recursive: true, force: true });
    await step('virtual environment', findBasePython(), ['-m', 'venv', venv]);
  }
  const pip = [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    '--no-warn-script-location',
  ];
  // An exact version, because a dependency's range may install a build with gigabytes of GPU
  // libraries. PyTorch has no hash, because the build depends on the machine; all other packages
  // have one.
  const torch = readFileSync(join(root, 'python_bridge', 'constraints.txt'), 'utf8').match(
    /^torch==\S+/m,
  )[0];
  const locked = ['--no-deps', '--require-hashes', '-r', 'python_bridge/requirements.lock'];
  await step('Python packages', venvPython, [...pip, ...locked]);
  await step(`PyTorch (${torch}), the largest part`, venvPython, [...pip, torch]);
  const own = ['--no-deps', '--no-build-isolation', '-e', 'python_bridge', '-e', 'plugins/trl'];
  await step('the worker and genac_trl', venvPython, [...pip, ...own]);
  writeFileSync(stampOf(venv), print);
}

function runs(command, args) {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export async function ensure() {
  checkNode(process.versions.node);
  await ensureNodePackages();
  await ensurePython();
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await ensure();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`setup: ${error.message}`);
    process.exit(1);
  }
}
