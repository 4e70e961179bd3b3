/**
 * A run's folder: what stands in a file's place, what is gone, and lines that can be read again.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { checkConfig } from '../../src/config/load.ts';
import { askRun, serveControl } from '../../src/run/control.ts';
import { RunFolder, refuseOtherKinds } from '../../src/run-folder/folder.ts';
import { readTrajectories } from '../../src/run-folder/read.ts';
import { readStatus, statusOf } from '../../src/run-folder/status.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-folder-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const make = (name: string) =>
  RunFolder.create(
    checkConfig({ folder: join(scratch, name), task: 't', critic: 'c', actor: { model: 'm' } }),
    scratch,
  );
const fifo = (path: string) => execFileSync('mkfifo', [path]);
const evaluation = {
  type: 'evaluation',
  stage: 'joint',
  iteration: 0,
  metrics: { reward: 1 },
} as const;

describe('a folder that was removed or renamed while the run goes on', () => {
  const words = /^the run's folder .* was removed or renamed while the run went on/;
  it.each([
    ['removed', (path: string) => rmSync(path, { recursive: true })],
    ['renamed', (path: string) => renameSync(path, `${path}-elsewhere`)],
    ['emptied', (path: string) => execFileSync('find', [path, '-mindepth', '1', '-delete'])],
  ])('%s: it is not written again, and each writer says so', async (name, remove) => {
    const folder = await make(name);
    folder.record(evaluation);
    remove(folder.path);
    expect(() => folder.record(evaluation)).toThrow(words);
    expect(() => folder.recordTrajectory({})).toThrow(words);
    expect(() => folder.position()).toThrow(words);
    expect(folder.explained(new Error('ENOENT'))).toMatchObject({
      message: expect.stringMatching(words),
    });
  });

  it('while it is there, an error is what it was', async () => {
    const error = new Error('another');
    expect((await make('there')).explained(error)).toBe(error);
  });

  it('a command that is none is answered in one sentence', async () => {
    const folder = await make('requests');
    const control = serveControl(
      folder.path,
      { stop: async () => {} },
      {
        ...{ paused: false, pause() {}, resume() {} },
        set: async () => null,
      },
    );
    const place = join(folder.path, 'control');
    for (const [id, text] of Object.entries({ a: '{', b: '{"command":"jump"}', c: 'null' }))
      writeFileSync(join(place, `${id}.request.json`), text);
    fifo(join(place, 'd.request.json'));
    await new Promise((resolve) => setTimeout(resolve, 600));
    for (const id of ['a', 'b', 'c']) {
      const { ok, text } = JSON.parse(readFileSync(join(place, `${id}.reply.json`), 'utf8'));
      expect([ok, text]).toEqual([
        false,
        `${join(place, `${id}.request.json`)} is no command that a run knows`,
      ]);
    }
    expect(readFileSync(join(place, 'd.reply.json'), 'utf8')).toContain('it is a FIFO');
    control.close();
  });

  it('commands of others end nothing', async () => {
    const folder = await make('commands');
    const stop = { stop: async () => {} };
    const steering = { paused: false, pause() {}, resume() {}, set: async () => null };
    const control = serveControl(folder.path, stop, steering);
    rmSync(join(folder.path, 'control'), { recursive: true });
    fifo(join(folder.path, 'control'));
    await new Promise((resolve) => setTimeout(resolve, 500)); // it looks every 200 ms
    control.close();
  });
});

it('its config is the run’s, whatever texts are in it', async () => {
  const letter = fc.constantFrom(...'\n \r\ta:#"\'-|>{%&*!0~\u2028\\é,?@`');
  const text = fc.string({ unit: letter, minLength: 1, maxLength: 120 });
  const path = join(scratch, 'texts');
  await fc.assert(
    fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 3 }), async (stop_strings) => {
      const config = checkConfig({
        ...{ folder: path, task: 't', critic: 'c', actor: { model: 'm' } },
        sampling: { stop_strings },
      });
      await RunFolder.create(config, scratch);
      expect((await RunFolder.read(path)).config).toEqual(config);
      rmSync(path, { recursive: true });
    }),
    { examples: [[[' \n', '\n\n', `${'"'.repeat(60)}\n \n${'-'.repeat(40)}`]]], numRuns: 60 },
  );
});

describe('what stands in the place of a file or a folder', () => {
  it.each([
    'config.yaml',
    'status.json',
    'metrics.jsonl',
    'settings.jsonl',
    'run.lock',
    'logs/actor.log',
  ])('%s', (name) => {
    const path = mkdtempSync(join(scratch, 'kind-'));
    mkdirSync(join(path, 'logs'));
    writeFileSync(join(path, name), '');
    expect(() => refuseOtherKinds(path)).not.toThrow();
    rmSync(join(path, name));
    fifo(join(path, name));
    const words = `${join(path, name)} can't be used: it is a FIFO (a named pipe), not a file`;
    expect(() => refuseOtherKinds(path)).toThrow(words);
  });

  it('a file in the place of a folder', () => {
    const path = mkdtempSync(join(scratch, 'kind-'));
    writeFileSync(join(path, 'checkpoints'), '');
    expect(() => refuseOtherKinds(path)).toThrow(
      "checkpoints can't be used: it is a file, not a folder",
    );
  });

  it('metrics.jsonl while the run goes on', async () => {
    const folder = await make('appended');
    fifo(folder.metrics);
    expect(() => folder.record(evaluation)).toThrow(
      /metrics\.jsonl can't be written: it is a FIFO/,
    );
  });

  it('status.json: a command says so, and nothing waits', async () => {
    const path = mkdtempSync(join(scratch, 'status-'));
    expect(() => statusOf(path)).toThrow(`${path} holds no run: it has no status.json`);
    fifo(join(path, 'status.json'));
    expect(readStatus(path)).toBeNull();
    await expect(askRun(path, { command: 'stop' })).rejects.toThrow(
      /status\.json can't be read: it is a FIFO/,
    );
    expect(() => statusOf(join(path, 'nowhere'))).toThrow('holds no run: there is no such folder');
  });
});

it('a trajectory is cut where no reader would take its line, and says so', async () => {
  const folder = await make('long');
  const segment = {
    ...{ text: 'a', tokens: 1, value: 0, used_value: 0, advantage: 0, parsed: 'ok' },
    rationale: '\u0001'.repeat(2e7), // six times as long in JSON
  };
  const record = { iteration: 0, problem: 'p', prompt: '', response: '', reward: 1 };
  folder.recordTrajectory({ ...record, segments: [segment, { ...segment, rationale: 'short' }] });
  folder.recordTrajectory({ ...record, segments: Array.from({ length: 20 }, () => segment) });
  const [one, many] = readTrajectories(folder.path);
  expect(one!.segments[0]!.rationale.slice(999_999)).toBe(
    '\u0001 [... 19,000,000 more characters]',
  );
  expect(one!.segments[1]!.rationale).toBe('short');
  expect(many!.segments[19]!.rationale.slice(9_999)).toBe(
    '\u0001 [... 19,990,000 more characters]',
  );
});

it('config.yaml names each worker for itself, so that one can be edited alone', async () => {
  const folder = await make('workers');
  const path = join(folder.path, 'config.yaml');
  const text = readFileSync(path, 'utf8');
  expect(text).not.toMatch(/[&*]a\d/);
  writeFileSync(path, text.replace('devices: null', 'devices: "0"'));
  const { workers } = (await RunFolder.read(folder.path)).config;
  expect(Object.values(workers).map(({ devices }) => devices)).toEqual(['0', null, null]);
});
