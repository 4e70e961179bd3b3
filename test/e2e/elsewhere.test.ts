/**
 * What lies in the working directory, or in a folder that is given, is neither run nor lost. Real
 * processes.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { stringify } from 'yaml';

const main = new URL('../../src/cli/genac.mjs', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-elsewhere-'));

function genac(cwd: string, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    cwd,
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, text: stdout + stderr };
}

function folderOf(name: string, files: Record<string, string>): string {
  const folder = join(scratch, name);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

it('no tsconfig.json of the working directory puts modules in the place of ours', () => {
  const mark = join(scratch, 'typescript-ran');
  const paths = { zod: ['./evil.ts'], yaml: ['./evil.ts'], commander: ['./evil.ts'] };
  const folder = folderOf('typescript', {
    'tsconfig.json': JSON.stringify({ compilerOptions: { paths } }),
    'evil.ts': `import { writeFileSync } from 'node:fs'; writeFileSync(${JSON.stringify(mark)}, ''); export const z = {}, parse = 1, Command = 1, InvalidArgumentError = 1;`,
    'below/empty': '',
  });
  expect(genac(join(folder, 'below'), 'status', '..').text).toContain('holds no run');
  expect(existsSync(mark)).toBe(false);
});

it('no module of the working directory is taken for one of a worker’s', () => {
  const mark = join(scratch, 'python-ran');
  const evil = `open(${JSON.stringify(mark)}, 'w')\n`;
  const names = ['torch', 'random', 'zmq', 'msgspec', 'genac_bridge', 'sitecustomize'];
  const folder = folderOf('python', Object.fromEntries(names.map((name) => [`${name}.py`, evil])));
  const { status, text } = genac(folder, 'doctor');
  expect(status, text).toBe(0);
  expect(existsSync(mark)).toBe(false);
}, 120_000);

const mine = { 'models/my-weights.safetensors': 'w', 'notes.txt': 'n' };
const config = {
  ...{
    folder: '.',
    stages: ['joint'],
    task: { use: 'miniature', actors: 4 },
    critic: 'group-mean',
  },
  actor: { model: './models/missing' },
};

it('a start that fails takes away nothing that was there before it', () => {
  const folder = folderOf('failed', { ...mine, 'run.yaml': stringify(config) });
  const { status, text } = genac(folder, 'train', 'run.yaml');
  expect(status).toBe(1);
  expect(text).toContain('missing');
  for (const path of Object.keys(mine)) expect(existsSync(join(folder, path)), path).toBe(true);
  expect(existsSync(join(folder, 'config.yaml'))).toBe(false);
}, 120_000);

it.each(['status.json', 'run.json', 'metrics.jsonl'])(
  'a start replaces no %s of the user’s',
  (name) => {
    const folder = folderOf(`own-${name}`, { [name]: 'mine', 'run.yaml': stringify(config) });
    const { status, text } = genac(folder, 'train', 'run.yaml');
    expect(status).toBe(1);
    expect(text).toContain(`has a file ${name}, which a run would replace`);
    expect(readFileSync(join(folder, name), 'utf8')).toBe('mine');
  },
);

it('a demo empties no folder that holds something else', () => {
  const folder = folderOf('demo', { 'demo.json': '{"name":"my demo"}', 'src/main.py': 'print()' });
  const { status, text } = genac(scratch, 'demo', '--folder', folder);
  expect(status).toBe(1);
  expect(text).toContain("is no demo's (it holds src)");
  expect(existsSync(join(folder, 'src/main.py'))).toBe(true);
});

it('a run without a checkpoint that can’t go on yet loses nothing', () => {
  const folder = folderOf('killed', {
    'config.yaml': stringify({ ...config, folder: join(scratch, 'killed') }),
    'run.json': JSON.stringify({ genac: '0.1.0', base: scratch }),
    'models/base/weights': 'w',
    'checkpoints/empty': '',
  });
  const { status, text } = genac(scratch, 'resume', folder);
  expect(status).toBe(1);
  expect(text).toContain('missing');
  for (const path of ['config.yaml', 'run.json', 'models/base/weights'])
    expect(existsSync(join(folder, path)), path).toBe(true);
}, 120_000);
