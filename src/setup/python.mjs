// Runs the virtual environment's Python with the given arguments: `node src/setup/python.mjs -m
// pytest`.
import { spawnSync } from 'node:child_process';
import { venvPython as python, root } from './ensure.mjs';

const { status, error } = spawnSync(python, process.argv.slice(2), { cwd: root, stdio: 'inherit' });
if (error) console.error(`${python}: ${error.message}; \`npm run setup\` makes it`);
process.exit(status ?? 1);
