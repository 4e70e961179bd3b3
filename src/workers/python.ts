import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The checkout that this file lies in. */
const root = fileURLToPath(new URL('../..', import.meta.url));

/** Folder of the Python package, for `PYTHONPATH`. */
export const pythonBridge = fileURLToPath(new URL('../../python_bridge', import.meta.url));

/**
 * The Python that runs workers: `GENAC_PYTHON`, else the checkout's `.venv`, else `python3` of the
 * PATH.
 */
export function findPython(): string {
  const chosen = process.env.GENAC_PYTHON;
  if (chosen !== undefined && chosen !== '') return chosen;
  const own =
    process.platform === 'win32' ? `${root}.venv/Scripts/python.exe` : `${root}.venv/bin/python`;
  return existsSync(own) ? own : 'python3';
}
