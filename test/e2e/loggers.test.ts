/** `log` of a config, with the real packages, read back with their own readers. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { checkConfig } from '../../src/config/load.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { askRun } from '../../src/run/control.ts';
import { type Run, resumeRun, startRun } from '../../src/run/run.ts';
import { metric, readMetrics } from '../../src/run-folder/read.ts';
import { readStatus } from '../../src/run-folder/status.ts';
import { findPython } from '../../src/workers/python.ts';

const root = new URL('../..', import.meta.url).pathname;
const genac = join(root, 'src/cli/genac.mjs');
const scratch = mkdtempSync(join(tmpdir(), 'genac-loggers-'));
const folderOf = (name: string) => join(scratch, name);
const trackio = join(scratch, 'trackio');

const recipe = (name: string, log: ConfigInput['log'], iterations = 4): ConfigInput => ({
  folder: folderOf(name),
  stages: ['joint'],
  task: { use: join(root, 'test/fixtures/parity-task.ts') },
  critic: 'group-mean',
  actor: { model: 'task:blank', learning_rate: 1e-3 },
  workers: { actor: { threads: 1 }, critic: {}, python: {} },
  sampling: { batch_size: 2, num_generations: 3, max_new_tokens: 8 },
  joint: { steps: iterations },
  evaluation: { every: 2, prompts: 2, states: 4 },
  log,
});
const all = (project: string): ConfigInput['log'] => [
  'tensorboard',
  { use: 'wandb', project, mode: 'offline' },
  { use: 'trackio', project, folder: trackio },
];

interface Read {
  tensorboard: Record<string, [number, number][]>;
  texts: Record<string, number>;
  wandb: { id: string; rows: Record<string, number>[]; config: string[] }[];
  trackio: { runs: string[]; logs: Record<string, number>[][]; config: string[][] };
}
const read = (name: string, project: string): Read =>
  JSON.parse(
    execFileSync(
      findPython(),
      [join(root, 'test/e2e/read-loggers.py'), folderOf(name), trackio, project],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    ),
  );

async function messagesOf(
  run: Run,
  each: (iteration: number) => void = () => {},
): Promise<string[]> {
  const messages: string[] = [];
  for await (const event of run) {
    if (event.type === 'message') messages.push(event.text);
    if (event.type === 'iteration') each(event.iteration);
  }
  return messages;
}

// What is started here, and what that starts, has it in its environment.
process.env.GENAC_TEST_LOGGERS = scratch;

/** Process ids of wandb's services that were started from here. */
const wandbServices = () =>
  readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const of = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8');
      return /wandb-core|gpu_stats/.test(of('cmdline')) && of('environ').includes(scratch);
    } catch {
      return false; // it ended meanwhile
    }
  });

/**
 * What every logger must have got: each iteration's reward at the step after it, each held-out
 * success at the step before which it was measured.
 */
function expectAll(name: string, project: string, parts: number): void {
  const lines = readMetrics(folderOf(name));
  const points = (type: string, metricName: string) =>
    lines.flatMap((line) => {
      const value = line.type === type ? metric(line, metricName) : null;
      return value === null
        ? []
        : [[line.iteration + (type === 'iteration' ? 1 : 0), value] as const];
    });
  const series = {
    'train/reward': points('iteration', 'reward'),
    'train/completions/mean_length': points('iteration', 'completions/mean_length'),
    'eval/success': points('evaluation', 'evaluation/success'),
  };
  expect(series['train/reward'].length).toBeGreaterThanOrEqual(4);
  const got = read(name, project);
  expect(got.texts).toEqual({ 'config/text_summary': 1 });
  expect(got.wandb).toHaveLength(parts);
  expect(new Set(got.wandb.map(({ id }) => id)).size).toBe(1);
  expect(got.wandb[0]!.config).toEqual(expect.arrayContaining(['joint', 'sampling']));
  expect(got.trackio.runs).toHaveLength(1);
  expect(got.trackio.logs[0]).toHaveLength(lines.length);
  expect(got.trackio.config[0]).toEqual(expect.arrayContaining(['joint', 'sampling']));
  const rows = got.wandb.flatMap((part) => part.rows);
  expect(rows.map((row) => row._step)).toEqual(lines.map((_, i) => i + 1));
  for (const [tag, expected] of Object.entries(series)) {
    const near = expected.map(([step, value]) => [step, expect.closeTo(value, 5)]);
    expect(got.tensorboard[tag], tag).toEqual(near);
    const stepped = (list: readonly Record<string, number>[], step: string) =>
      list.filter((row) => tag in row).map((row) => [row[step], row[tag]]);
    expect(stepped(rows, 'train/global_step'), `wandb ${tag}`).toEqual(near);
    expect(stepped(got.trackio.logs[0]!, 'step'), `trackio ${tag}`).toEqual(near);
  }
}

describe('TensorBoard, wandb and Trackio', () => {
  it('get every metric under the names and steps of Transformers; a resumed run goes on in them, nothing twice', async () => {
    const run = startRun(recipe('resumed', all('resumed')));
    await messagesOf(run, (iteration) => {
      if (iteration === 1) void run.stop();
    });
    expect(wandbServices()).toEqual([]);
    expect(await run.finished).toBe('stopped');
    expect(readMetrics(folderOf('resumed')).length).toBeLessThan(6);
    const messages = await messagesOf(resumeRun(folderOf('resumed')));
    expect(messages.filter((text) => text.startsWith('log:'))).toEqual([]);
    expectAll('resumed', 'resumed', 2);
    expect(wandbServices()).toEqual([]);
  }, 180_000);

  it('are right also where the run was killed at once and goes on from an earlier checkpoint; no process is left', async () => {
    const input = { ...recipe('killed', all('killed'), 150), checkpoints: { every: 10 } };
    const file = folderOf('killed.yaml');
    writeFileSync(file, stringify(checkConfig(input)));
    const child = spawn(process.execPath, [genac, 'train', file], { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const noted = join(folderOf('killed'), 'loggers', 'wandb.json');
    const rows = () => (existsSync(noted) ? JSON.parse(readFileSync(noted, 'utf8')).rows : 0);
    // It waits for the loggers, which may begin later than a short run ends.
    const iterations = () => readStatus(folderOf('killed'))?.iteration ?? 0;
    while (iterations() < 12 && child.exitCode === null) await sleep(20);
    await askRun(folderOf('killed'), { command: 'pause' });
    while (rows() < 10 && child.exitCode === null) await sleep(50);
    expect(child.exitCode).toBeNull();
    expect(wandbServices()).not.toEqual([]);
    child.kill('SIGKILL');
    await ended;
    for (let i = 0; i < 100 && wandbServices().length > 0; i++) await sleep(100);
    expect(wandbServices()).toEqual([]);
    expect(readdirSync(join(folderOf('killed'), 'checkpoints'))).not.toContain('joint');
    await messagesOf(resumeRun(folderOf('killed')));
    expectAll('killed', 'killed', 2);
  }, 180_000);

  it('that fail are told of once, with what to do, and hold nothing up; `genac log` gives them what they lack', async () => {
    const blocked = join(scratch, 'a-file');
    writeFileSync(blocked, '');
    const log: ConfigInput['log'] = [
      'tensorboard',
      { use: 'trackio', project: 'late', folder: join(blocked, 'x') },
    ];
    const messages = await messagesOf(startRun(recipe('failing', log)));
    const told = messages.filter((text) => text.startsWith('log:'));
    expect(told).toHaveLength(1);
    expect(told[0]).toContain(
      'trackio failed and gets nothing more in this run: NotADirectoryError',
    );
    expect(told[0]).toContain(`genac log ${folderOf('failing')} gives it what it lacks`);
    const config = join(folderOf('failing'), 'config.yaml');
    writeFileSync(config, readFileSync(config, 'utf8').replaceAll(join(blocked, 'x'), trackio));
    const said = execFileSync(process.execPath, [genac, 'log', folderOf('failing')], {
      encoding: 'utf8',
    });
    expect(said).toBe('tensorboard, trackio: all of metrics.jsonl is there\n');
    const got = read('failing', 'late');
    const lines = readMetrics(folderOf('failing'));
    expect(got.trackio.logs[0]).toHaveLength(lines.length);
    expect(got.tensorboard['train/reward']).toHaveLength(4);
  }, 180_000);
});
