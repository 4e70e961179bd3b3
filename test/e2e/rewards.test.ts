/** A run whose rewards are functions of one's own, in both languages. */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { startRun } from '../../src/run/run.ts';
import { readMetrics, readTrajectories } from '../../src/run-folder/read.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-rewards-'));
afterAll(() => {
  delete process.env.GENAC_TEST_PID_FILE;
});

const config = (name: string, rewards: ConfigInput['rewards']): ConfigInput => ({
  folder: join(scratch, name),
  stages: ['joint'],
  task: { use: 'miniature', actors: 4 },
  rewards,
  critic: 'group-mean',
  actor: { model: 'task:blank', learning_rate: 1e-3 },
  workers: { actor: { threads: 1 }, python: {} },
  sampling: { batch_size: 2, num_generations: 3, max_new_tokens: 8, record: 6 },
  icc: { warm_rollouts: 0 },
  joint: { steps: 1 },
  gates: { joint: null, explained_variance: false },
  evaluation: { every: 0, prompts: 1, states: 1 },
});

describe('a run', () => {
  it('is paid by the weighted mean of its functions, and writes what each gave', async () => {
    const rewards = [
      { use: './examples/rewards.py:short', weight: 3 },
      { use: './test/fixtures/rewards/plain.ts', rescale: [-1, 1] as [number, number] },
    ];
    const run = startRun(config('paid', rewards), { base: root });
    for await (const _ of run);
    expect(await run.finished).toBe('done');
    const trajectories = readTrajectories(join(scratch, 'paid'));
    expect(trajectories).toHaveLength(6);
    const short = trajectories.map(({ response }) => 20 / (20 + response.length));
    for (const [i, { reward, rewards: given, response }] of trajectories.entries()) {
      const plain = response === '' ? null : -1;
      expect(given).toEqual({ short: short[i], plain });
      expect(reward).toBeCloseTo(plain === null ? short[i]! : (3 * short[i]!) / 4, 12);
    }
    const line = readMetrics(join(scratch, 'paid')).find(({ type }) => type === 'iteration')!;
    const mean = short.reduce((sum, value) => sum + value, 0) / 6;
    const squares = short.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    expect(line['rewards/short/mean']).toBeCloseTo(mean, 12);
    expect(line['rewards/short/std']).toBeCloseTo(Math.sqrt(squares / 5), 12);
    expect(line['rewards/plain/mean']).toBe(-1);
  }, 120_000);

  it('calls Python functions in the main thread, and takes rounding for what it is', async () => {
    const rewards = [{ use: './test/fixtures/rewards/own.py:alarmed' }];
    const run = startRun(config('alarmed', rewards), { base: root });
    for await (const _ of run);
    expect(await run.finished).toBe('done');
    for (const { reward } of readTrajectories(join(scratch, 'alarmed'))) expect(reward).toBe(1);
  }, 120_000);

  it('has one reward in every stage: rollouts that the task judged are left out', async () => {
    const run = startRun(
      {
        ...config('stage-2', [{ use: './test/fixtures/rewards/own.py:alarmed' }]),
        stages: ['critic-rl'],
        critic: { use: './test/fixtures/table-critic.ts', learns: true },
        joint: undefined,
        critic_rl: { steps: 1, states: 6, warmup: 0, evaluate_every: 1 },
        gates: undefined,
      },
      { base: root },
    );
    const said: string[] = [];
    for await (const event of run) if (event.type === 'message') said.push(event.text);
    expect(await run.finished).toBe('done');
    const lines = readMetrics(join(scratch, 'stage-2'));
    const means = lines.flatMap((line) => line['critic/mean_reward'] ?? []);
    // Of the task's own rollouts, and by its own reward, it would be less.
    expect(means).toEqual([1]);
    expect(said.join('\n')).toContain('what it judged by its own is not used');
  }, 120_000);

  it('that is paid by its task alone writes no such metrics', async () => {
    const run = startRun(config('unpaid', []), { base: root });
    for await (const _ of run);
    const [line] = readMetrics(join(scratch, 'unpaid')).filter(({ type }) => type === 'iteration');
    expect(Object.keys(line!).filter((name) => name.startsWith('rewards/'))).toEqual([]);
    expect(readTrajectories(join(scratch, 'unpaid')).every((t) => !('rewards' in t))).toBe(true);
  }, 120_000);

  it('ends with the name of a function that hangs, whose process does not survive it', async () => {
    process.env.GENAC_TEST_PID_FILE = join(scratch, 'hanging.pid');
    const rewards = [{ use: './test/fixtures/rewards/own.py:hang', timeout: 1 }];
    const run = startRun(config('hanging', rewards), { base: root });
    await expect(run.finished).rejects.toThrow(
      /"hang" .* had no answer after 1 s, on problems? .*raise rewards\.0\.timeout/,
    );
    const pid = Number(readFileSync(process.env.GENAC_TEST_PID_FILE, 'utf8'));
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  }, 120_000);

  it('does not start with a function that is not there', async () => {
    const run = startRun(config('absent', [{ use: './examples/rewards.py:absent' }]), {
      base: root,
    });
    await expect(run.finished).rejects.toThrow(/rewards\.py has no 'absent'/);
  }, 120_000);
});
