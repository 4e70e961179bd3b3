/** Run folders that others touch while a run goes on or after it ended: real processes. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readMetrics, readSettings } from '../../src/run-folder/read.ts';

const root = new URL('../..', import.meta.url).pathname;
const main = join(root, 'src/cli/genac.mjs');
const scratch = mkdtempSync(join(tmpdir(), 'genac-run-folder-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const folderOf = (name: string) => join(scratch, name);

/** One sentence, and an end at once. */
function genac(...args: string[]) {
  const { status, stdout, stderr, signal } = spawnSync(process.execPath, [main, ...args], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  const text = stdout + stderr;
  expect({ signal, text }).toEqual({
    signal: null,
    text: expect.not.stringMatching(/\n\s+at |node:internal/),
  });
  return { status, text };
}

function configOf(name: string): string {
  const path = join(scratch, `${name}.json`);
  const config = {
    folder: folderOf(name),
    stages: ['joint'],
    task: { use: join(root, 'test/fixtures/parity-task.ts') },
    critic: 'group-mean',
    actor: { model: 'task:blank', learning_rate: 1e-3 },
    workers: { actor: { threads: 1 } },
    sampling: { batch_size: 2, num_generations: 2, max_new_tokens: 4 },
    icc: { warm_rollouts: 0 },
    joint: { steps: 100_000 },
    gates: { joint: null, explained_variance: false },
    evaluation: { every: 0, prompts: 2, states: 4 },
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}

/** Starts a run and waits until it has written iterations. */
async function started(name: string) {
  const child = spawn(process.execPath, [main, 'train', configOf(name)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  while (child.exitCode === null && !existsSync(join(folderOf(name), 'metrics.jsonl')))
    await sleep(50);
  while (child.exitCode === null && readMetrics(folderOf(name)).length < 4) await sleep(50);
  return { child, ended, text: () => text };
}

/** Processes whose parent was this one, or that name it in their command. */
const workersOf = (pid: number) =>
  readdirSync('/proc').filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      return spawnSync('cat', [`/proc/${entry}/cmdline`], { encoding: 'utf8' }).stdout.includes(
        `genac-${pid}-`,
      );
    } catch {
      return false;
    }
  });

describe('a run whose folder goes away', () => {
  it('ends with one sentence, and so do its workers', async () => {
    const { child, ended, text } = await started('gone');
    try {
      // The run may write while the folder is emptied: then `rm` fails at the folder itself.
      spawnSync('rm', ['-rf', folderOf('gone')]);
      expect(await ended).toBe(1);
      expect(text()).toMatch(
        /\ngenac: the run's folder .*gone was removed or renamed while the run went on/,
      );
      expect(text()).not.toMatch(/\n\s+at /);
      expect(workersOf(child.pid!)).toEqual([]);
    } finally {
      child.kill('SIGKILL');
    }
  }, 60_000);
});

describe('a run that is over', () => {
  beforeAll(async () => {
    const { child, ended } = await started('over');
    child.kill('SIGINT');
    expect(await ended).toBe(130);
  }, 60_000);
  const copyOf = (name: string) => {
    cpSync(folderOf('over'), folderOf(name), { recursive: true });
    return folderOf(name);
  };

  it('that a setting ended goes on once it is replaced', async () => {
    const folder = copyOf('set');
    const iteration = readMetrics(folder).at(-1)!.iteration + 5;
    const bad = { stage: 'joint', iteration, values: { 'sampling.temperature': 1e-320 } };
    appendFileSync(join(folder, 'settings.jsonl'), `${JSON.stringify(bad)}\n`);
    expect(genac('resume', folder, '--trust-code')).toMatchObject({
      status: 1,
      text: expect.stringContaining(`genac set ${folder} sampling.temperature=VALUE; then resume`),
    });
    expect(genac('set', folder, 'sampling.temperature=1e-320').status).toBe(1);
    expect(genac('set', folder, 'sampling.temperature=0.5')).toMatchObject({
      status: 0,
      text: expect.stringContaining(
        'sampling.temperature = 0.5 (instead of sampling.temperature = 1e-320)',
      ),
    });
    expect(readSettings(folder)).toHaveLength(1);
    const lines = readMetrics(folder).length;
    const again = spawn(process.execPath, [main, 'resume', folder, '--trust-code'], {
      stdio: 'ignore',
    });
    const ended = new Promise<number | null>((resolve) => again.on('exit', resolve));
    while (again.exitCode === null && readMetrics(folder).length < lines + 8) await sleep(50);
    again.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(readMetrics(folder).length).toBeGreaterThanOrEqual(lines + 8);
  }, 120_000);

  it.each([
    ['inspect', 'metrics.jsonl'],
    ['inspect', 'trajectories.jsonl'],
    ['status', 'status.json'],
    ['stop', 'status.json'],
    ['set', 'settings.jsonl'],
    ['log', 'config.yaml'],
    ['resume', 'run.json'],
    ['resume', 'run.lock'],
    ['resume', 'logs/actor.log'],
  ])(
    '%s says that %s is a FIFO',
    (command, file) => {
      const folder = copyOf(`fifo-${command}-${file.replace('/', '-')}`);
      rmSync(join(folder, file), { force: true });
      execFileSync('mkfifo', [join(folder, file)]);
      // A copy is no run of one's own, and its task is a file.
      const more: Record<string, string[]> = {
        set: ['sampling.temperature=0.5'],
        resume: ['--trust-code'],
      };
      const { status, text } = genac(command, folder, ...(more[command] ?? []));
      expect(status).toBe(1);
      expect(text).toMatch(/can't be (?:read|used): it is a FIFO \(a named pipe\), not a file\n$/);
      expect(text).toContain(file.split('/').at(-1)!);
    },
    60_000,
  );
});
