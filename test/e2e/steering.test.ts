/** A run that is steered: by a script, and from another process. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { steer } from '../../examples/steer.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import type { Settings } from '../../src/config/settings.ts';
import { resumeRun, startRun } from '../../src/run/run.ts';
import { checkpointNames } from '../../src/run-folder/checkpoint.ts';
import type { RunEvent } from '../../src/run-folder/events.ts';
import { readMetrics, readSettings } from '../../src/run-folder/read.ts';
import { isAlive, readStatus } from '../../src/run-folder/status.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-steering-'));
const folderOf = (name: string) => join(scratch, name);
let workers: WorkerGroup;
beforeAll(async () => {
  workers = await startWorkers({
    workers: [
      { name: 'actor', threads: 1 },
      { name: 'critic', threads: 1 },
    ],
  });
}, 120_000);
afterAll(() => workers?.close());

const recipe = (name: string, changes: Partial<ConfigInput> = {}): ConfigInput => ({
  folder: folderOf(name),
  stages: ['joint'],
  task: { use: join(root, 'test/fixtures/parity-task.ts') },
  critic: { use: 'generative', model: 'task:blank', thinking: false, max_new_tokens: 4 },
  actor: { model: 'task:blank', learning_rate: 1e-3 },
  workers: { actor: { threads: 1 }, critic: { threads: 1 } },
  sampling: { batch_size: 2, num_generations: 3, max_new_tokens: 8 },
  credit: { lambda: 0.5 },
  icc: { warm_rollouts: 4 },
  joint: { steps: 8, learning_rate: 1e-3 },
  gates: { joint: null, explained_variance: false },
  evaluation: { every: 0, prompts: 2, states: 4 },
  ...changes,
});

const timeless = (name: string) =>
  readMetrics(folderOf(name)).map((line) =>
    Object.fromEntries(Object.entries(line).filter(([key]) => !key.startsWith('seconds'))),
  );

const values: Settings = {
  'actor.learning_rate': 5e-3,
  'credit.lambda': 0.9,
  'critic.completions_per_state': 2,
  'critic.icc': false,
};

describe('from a script', () => {
  it('values change from the next iteration on, are logged, and are part of resume', async () => {
    // Set at iteration 3, stopped at 5.
    const steered = startRun(recipe('set'), { workers });
    const events: RunEvent[] = [];
    const places: unknown[] = [];
    for await (const event of steered) {
      events.push(event);
      if (event.type === 'iteration' && event.iteration === 1) {
        steered.pause(); // so that what follows is asked for before the next iteration
        void steered.set(values).then((place) => places.push(place));
        steered.resume();
      }
      if (event.type === 'iteration' && event.iteration === 4) void steered.stop();
    }
    const set = events.find((e) => e.type === 'set')!;
    expect(set).toMatchObject({ type: 'set', stage: 'joint', values });
    const from = (set as { iteration: number }).iteration;
    expect(places).toEqual([{ stage: 'joint', iteration: from }]);
    expect(readSettings(folderOf('set'))).toEqual([{ stage: 'joint', iteration: from, values }]);
    const rates = readMetrics(folderOf('set')).flatMap((l) =>
      l.type === 'iteration' ? [[l.iteration, l.learning_rate]] : [],
    );
    for (const [iteration, rate] of rates)
      expect(rate).toBe((iteration as number) < from ? 1e-3 : 5e-3);

    for await (const event of resumeRun(folderOf('set'), { workers })) events.push(event);
    expect(events.filter((e) => e.type === 'set')).toHaveLength(1);

    // The same values at the same place, never stopped.
    const whole = startRun(recipe('set-whole'), { workers });
    const due = new Promise<void>((resolve) => {
      void (async () => {
        for await (const event of whole) {
          if (event.type === 'iteration' && event.iteration === from - 1) {
            void whole.set(values);
            resolve();
          }
        }
      })();
    });
    await due;
    expect(await whole.finished).toBe('done');
    if (readSettings(folderOf('set-whole'))[0]?.iteration === from)
      expect(timeless('set')).toEqual(timeless('set-whole'));
    else
      expect(timeless('set').filter((l) => (l.iteration as number) < from)).toEqual(
        timeless('set-whole').filter((l) => (l.iteration as number) < from),
      );
  }, 120_000);

  it.each([
    [
      { 'credit.lamda': 0.9 },
      'credit.lamda: can\'t change while a run goes on; did you mean "credit.lambda"?',
    ],
    [{ seed: 1 }, "seed: can't change while a run goes on; what can: actor.learning_rate"],
    [{ 'credit.lambda': 2 }, 'credit.lambda: 2'],
    [{ 'joint.schedule': 'fast' }, 'joint.schedule: "fast"'],
    [{ 'critic.temperature': -1 }, 'critic.temperature: -1'],
    [{ 'sampling.temperature': 1e-320 }, 'sampling.temperature: 1e-320'],
    [{ 'critic.temperature': 1e-30 }, 'critic.temperature: 1e-30'],
    [{}, 'no value is named that can change'],
    [{ 'critic_rl.learning_rate': 1e-3 }, 'critic_rl: has no effect'],
  ])('%j is refused at once, and nothing changes', async (bad, words) => {
    const name = `refused-${Math.random()}`;
    const run = startRun(recipe(name, { joint: { steps: 1, learning_rate: 1e-3 } }), {
      workers,
    });
    await expect(run.set(bad as Settings)).rejects.toThrow(words);
    expect(await run.finished).toBe('done');
    expect(readSettings(folderOf(name))).toEqual([]);
  });

  it('options of a critic that takes no others are refused', async () => {
    const config = recipe('fixed', {
      critic: { use: join(root, 'test/fixtures/fixed-critic.ts') },
    });
    const run = startRun({ ...config, joint: { steps: 8 } }, { workers });
    for await (const event of run) {
      if (event.type !== 'iteration' || event.iteration !== 0) continue;
      await expect(run.set({ 'critic.temperature': 0.5 })).rejects.toThrow(
        'critic.temperature: the critic "fixed" takes no other options while a run goes on',
      );
    }
    expect(await run.finished).toBe('done');
  }, 60_000);

  it('a paused run waits between two iterations, and goes on; a paused one can be stopped', async () => {
    const run = startRun(recipe('paused'), { workers });
    const seen: string[] = [];
    for await (const event of run) {
      if (event.type === 'iteration') seen.push(String(event.iteration));
      if (event.type === 'iteration' && event.iteration === 1) run.pause();
      if (event.type === 'paused') {
        seen.push('paused');
        expect(readStatus(run.folder)?.state).toBe('paused');
        await sleep(300);
        if (seen.filter((s) => s === 'paused').length === 1) run.resume();
        else void run.stop();
      }
      if (event.type === 'resumed') {
        seen.push('resumed');
        run.pause();
      }
    }
    expect(await run.finished).toBe('stopped');
    const first = seen.indexOf('paused');
    expect(seen.slice(first, first + 2)).toEqual(['paused', 'resumed']);
    expect(seen.filter((s) => s === 'paused')).toHaveLength(2);
    expect(readStatus(run.folder)?.state).toBe('stopped');
  }, 60_000);
});

describe('examples/steer.ts', () => {
  it('asks for fewer completions once the critic explains enough, stops at its goal, and says what it did', async () => {
    const config = recipe('steered', {
      critic: {
        use: 'generative',
        model: 'task:blank',
        thinking: false,
        max_new_tokens: 4,
        completions_per_state: 2,
        baseline: 'batch-mean',
      },
      joint: { steps: 500, learning_rate: 1e-3 },
      evaluation: { every: 3, prompts: 2, states: 4 },
    });
    // Whatever the critic explains is enough, and so is any success after that.
    const did = await steer(config, { explained: -1e9, success: 0 });
    expect(did[0]).toMatch(/^iteration \d+: (?:held-out success|the critic explains)/);
    expect(did.at(-1)).toBe('stopped');
    const short = {
      ...config,
      folder: folderOf('steered-2'),
      joint: { steps: 8, learning_rate: 1e-3 },
    };
    const patient = await steer(short, { explained: -1e9, success: 2 });
    expect(
      patient.some((line) =>
        /^iteration \d+: the critic explains -?\d+% of the rewards$/.test(line),
      ),
    ).toBe(true);
    expect(patient.some((line) => line.includes('"critic.completions_per_state":1'))).toBe(true);
  }, 120_000);
});

describe('a run that ended', () => {
  it('can be resumed from the checkpoint before a bad one, on request', async () => {
    const config = recipe('bad', {
      joint: { steps: 6, learning_rate: 1e-3 },
      checkpoints: { every: 1, keep: 3 },
    });
    const run = startRun(config, { workers });
    for await (const event of run)
      if (event.type === 'iteration' && event.iteration === 2) void run.stop();
    const folder = join(folderOf('bad'), 'checkpoints');
    const names = await checkpointNames(folder);
    expect(names).toHaveLength(3); // keep
    writeFileSync(join(folder, names.at(-1)!, 'actor', 'config.json'), '{}');
    await expect(resumeRun(folderOf('bad'), { workers }).finished).rejects.toThrow(
      /can't be used: actor\/config.json has 2 bytes/,
    );
    await expect(
      resumeRun(folderOf('bad'), { workers, from: 'joint-00002' }).finished,
    ).rejects.toThrow('did you mean "joint-00000');
    expect(await resumeRun(folderOf('bad'), { workers, from: names.at(-2)! }).finished).toBe(
      'done',
    );
    await startRun({ ...config, folder: folderOf('good') }, { workers }).finished;
    expect(timeless('bad')).toEqual(timeless('good'));
    await expect(resumeRun(folderOf('bad'), { workers }).finished).rejects.toThrow(
      'is finished: there is nothing to resume',
    );
    await expect(resumeRun(scratch, { workers }).finished).rejects.toThrow(
      'holds no run that can be resumed',
    );
  }, 60_000);
});

describe('from another process', () => {
  const genac = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(root, 'src/cli/genac.mjs'), ...args],
      { encoding: 'utf8' },
    );
    return { status, text: stdout + stderr };
  };

  it('genac status, pause, set, resume, stop', async () => {
    const config = join(scratch, 'controlled.yaml');
    const folder = folderOf('controlled');
    writeFileSync(
      config,
      JSON.stringify(recipe('controlled', { joint: { steps: 5000, learning_rate: 1e-3 } })),
    );
    const child = spawn(process.execPath, [join(root, 'src/cli/genac.mjs'), 'train', config], {
      stdio: 'ignore',
    });
    const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
    try {
      while (child.exitCode === null && readStatus(folder)?.state !== 'running') await sleep(50);
      expect(genac('status', folder).text).toMatch(
        /^running, process \d+ on .*\nstage 3, joint \d+\/5000/,
      );
      expect(genac('resume', folder).text).toContain('it was not paused');
      expect(genac('pause', folder)).toMatchObject({
        status: 0,
        text: expect.stringContaining('it waits after the iteration in hand'),
      });
      while (readStatus(folder)?.state !== 'paused') await sleep(50);
      const lines = readMetrics(folder).length;
      expect(genac('set', folder, 'credit.lambda=0.9', 'critic.icc=false').text).toContain(
        'from the next iteration on, if there is one: credit.lambda = 0.9, critic.icc = false',
      );
      expect(genac('set', folder, 'credit.lambda=9')).toMatchObject({
        status: 1,
        text: expect.stringContaining('credit.lambda: 9'),
      });
      expect(genac('set', folder, 'credit.lambda')).toMatchObject({
        status: 1,
        text: expect.stringContaining('NAME=VALUE'),
      });
      expect(readMetrics(folder)).toHaveLength(lines);
      expect(genac('train', config)).toMatchObject({
        status: 1,
        text: expect.stringContaining(`is in use by process ${child.pid}`),
      });
      expect(genac('resume', folder, '--from', 'x')).toMatchObject({
        status: 1,
        text: expect.stringContaining('is at work'),
      });
      // Refused before anything is touched.
      await expect(resumeRun(folder, { workers }).finished).rejects.toThrow(
        `in use by process ${child.pid}`,
      );
      expect(readMetrics(folder)).toHaveLength(lines);
      expect(genac('resume', folder).text).toContain('it goes on');
      while (readMetrics(folder).length < lines + 2) await sleep(50);
      expect(readSettings(folder)).toMatchObject([
        { stage: 'joint', values: { 'credit.lambda': 0.9, 'critic.icc': false } },
      ]);
      expect(genac('stop', folder).text).toMatch(
        /it ends after the iteration in hand|it has ended \(stopped\)/,
      );
      expect(await ended).toBe(0);
      expect(genac('status', folder).text).toMatch(
        /^stopped, last heard of .*\n.*\n(?:.*\n)?genac resume .* goes on with it/,
      );
      expect(genac('pause', folder)).toMatchObject({
        status: 1,
        text: expect.stringContaining('is over (stopped)'),
      });
      expect(genac('status', scratch)).toMatchObject({
        status: 1,
        text: expect.stringContaining('holds no run'),
      });
      expect(readdirSync(folder)).not.toContain('control');
    } finally {
      child.kill('SIGKILL');
    }
  }, 120_000);

  it('a process that was killed is not taken for one at work', async () => {
    const status = readStatus(folderOf('controlled'))!;
    expect(isAlive(status)).toBe(false);
    expect(isAlive({ ...status, state: 'running' })).toBe(false); // no such process
    expect(isAlive({ ...status, state: 'running', pid: process.pid })).toBe(false); // a later one of that number
    const start = readFileSync(`/proc/${process.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[19]!;
    expect(isAlive({ ...status, state: 'running', pid: process.pid, process_start: start })).toBe(
      true,
    );
    const elsewhere = { ...status, state: 'running' as const, host: 'another' };
    expect(isAlive({ ...elsewhere, updated: new Date().toISOString() })).toBe(true);
    expect(isAlive({ ...elsewhere, updated: new Date(Date.now() - 60_000).toISOString() })).toBe(
      false,
    );
  });
});
