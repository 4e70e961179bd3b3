// Runs the virtual environment's Python with the arguments given: `node src/setup/python.mjs -m pytest`.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from './ensure.mjs';

const python =
  process.platform === 'win32'
    ? join(root, '.venv', 'Scripts', 'python.exe')
    : join(root, '.venv', 'bin', 'python');
const { status, error } = spawnSync(python, process.argv.slice(2), { cwd: root, stdio: 'inherit' });
if (error) console.error(`${python}: ${error.message}; \`npm run setup\` makes it`);
process.exit(status ?? 1);
