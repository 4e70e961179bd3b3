/** What is measured between iterations, on a task that knows no exact values. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { passAtK } from '../../src/evaluation/held-out.ts';
import { resumeRun, startRun } from '../../src/run/run.ts';
import { readCheckpoint } from '../../src/run-folder/checkpoint.ts';
import { readMetrics } from '../../src/run-folder/read.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-evaluation-'));
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

describe('pass@k', () => {
  it('is the mean over the problems of the best of k rewards', () => {
    const rewards = [0, 0, 1, 0.25, 0.5, 0, 0, 0, 0].map((reward) => ({ reward }));
    expect(passAtK(rewards, 3)).toBeCloseTo((1 + 0.5 + 0) / 3, 12);
    expect(passAtK(rewards, 1)).toBeCloseTo(1.75 / 9, 12);
  });
});

describe('held-out figures', () => {
  it('have pass@1, pass@k and greedy, a critic measured against continuations, and the best checkpoint', async () => {
    const folder = join(scratch, 'run');
    const blank = startRun(
      {
        folder,
        stages: ['joint'],
        // The miniature's models, judged by the length of what they write: half of it is even.
        task: { use: join(root, 'test/fixtures/length-task.ts') },
        critic: { use: 'generative', model: 'task:blank', thinking: false, max_new_tokens: 4 },
        actor: { model: 'task:blank', learning_rate: 1e-3 },
        workers: { actor: { threads: 1 }, critic: { threads: 1 } },
        sampling: { batch_size: 2, num_generations: 2, max_new_tokens: 10 },
        icc: { warm_rollouts: 4 },
        joint: { steps: 2, learning_rate: 1e-3 },
        gates: { joint: null, explained_variance: false },
        evaluation: {
          every: 1,
          prompts: 6,
          num_generations: 3,
          greedy: true,
          states: 12,
          continuations: 8,
        },
      },
      { workers },
    );
    expect(await blank.finished).toBe('done');
    const lines = readMetrics(folder).filter(({ type }) => type === 'evaluation');
    expect(lines).toHaveLength(3);
    for (const line of lines) {
      expect(line['evaluation/pass@3']).toBeGreaterThanOrEqual(
        line['evaluation/success'] as number,
      );
      expect((line['evaluation/greedy'] as number) * 6).toBeCloseTo(
        Math.round((line['evaluation/greedy'] as number) * 6),
        9,
      );
      // Single outcomes are 0 or 1 and have a variance of m (1 - m); means of eight continuations
      // vary less.
      const m = line['evaluation/success'] as number;
      expect(line['critic/heldout_mse_of_constant']).toBeLessThan(m * (1 - m));
    }
    const best = lines.reduce((a, b) =>
      (b['evaluation/success'] as number) > (a['evaluation/success'] as number) ? b : a,
    );
    expect((await readCheckpoint(join(folder, 'checkpoints', 'best'))).iteration).toBe(
      best.iteration,
    );
    // The values of training are sampled: their error and that of the greedy ones are two figures.
    for (const line of lines) expect(line['critic/heldout_greedy_mse']).toBeGreaterThanOrEqual(0);
    // What sampled is what was trained, to the rounding of float32.
    for (const line of readMetrics(folder).filter(({ type }) => type === 'iteration')) {
      if ((line['actor/steps'] as number) > 0) expect(line['actor/sampling_kl']).toBeLessThan(1e-6);
    }
  }, 120_000);
});

describe('an evaluation during which a run is stopped', () => {
  it.each([
    ['critic-sft', 0, { critic_sft: { steps: 2, cooldown: 0, batch: 4 } }],
    ['critic-rl', 0, { critic_rl: { steps: 2, states: 4, evaluate_every: 2 } }],
    ['joint', 2, { joint: { steps: 2, learning_rate: 1e-3 } }],
  ] as const)(
    'of %s, before iteration %i, is not made again',
    async (stage, iteration, steps) => {
      const folder = join(scratch, `stopped-${stage}`);
      const run = startRun(
        {
          ...{ folder, stages: [stage] },
          task: { use: 'miniature', steps: 2, actors: 4 },
          actor: { model: 'task:blank', learning_rate: 1e-3 },
          critic: { use: 'generative', model: 'task:blank', max_new_tokens: 4 },
          workers: { actor: { threads: 1 }, critic: { threads: 1 } },
          sampling: { batch_size: 2, num_generations: 2, max_new_tokens: 8 },
          icc: { warm_rollouts: 4 },
          ...steps,
          ...(stage === 'joint' && { gates: { joint: null, explained_variance: false } }),
          evaluation: { every: 0, prompts: 2, states: 4 },
        },
        { workers },
      );
      for await (const event of run)
        if (event.type === 'phase' && event.phase === 'evaluate' && event.iteration === iteration)
          void run.stop();
      expect(await run.finished).toBe('stopped');
      expect(await resumeRun(folder, { workers }).finished).toBe('done');
      const places = readMetrics(folder).map((line) => `${line.type} ${line.iteration}`);
      expect(new Set(places).size).toBe(places.length);
      expect(places).toContain(`evaluation ${iteration}`);
    },
    120_000,
  );
});

describe('held-out states of stage 2', () => {
  it('are those of the run’s beginning, also after a set and a resume', async () => {
    const errorsOf = async (name: string, stopAt: number) => {
      const folder = join(scratch, name);
      const run = startRun(
        {
          ...{ folder, stages: ['critic-rl'] },
          task: { use: join(root, 'test/fixtures/length-task.ts') },
          actor: { model: 'task:blank' },
          critic: { use: 'generative', model: 'task:blank', thinking: false, max_new_tokens: 4 },
          workers: { actor: { threads: 1 }, critic: { threads: 1 } },
          sampling: { max_new_tokens: 8 },
          icc: { warm_rollouts: 4 },
          critic_rl: { steps: 4, states: 4, evaluate_every: 1, keep: 'last' },
          evaluation: { states: 6, continuations: 4 },
        },
        { workers },
      );
      for await (const event of run) {
        if (event.type !== 'iteration') continue;
        if (event.iteration === 0) void run.set({ 'sampling.temperature': 0.3 });
        if (event.iteration === stopAt) void run.stop();
      }
      if ((await run.finished) === 'stopped') await resumeRun(folder, { workers }).finished;
      return readMetrics(folder).flatMap((line) => line['critic/heldout_mse_of_constant'] ?? []);
    };
    const whole = await errorsOf('not-stopped', -1);
    expect(whole).toHaveLength(5);
    expect(new Set(whole).size).toBe(1);
    expect(await errorsOf('stopped-and-resumed', 2)).toEqual(whole);
  }, 120_000);
});

describe('stage 2 without a best critic', () => {
  it('ends with a checkpoint that a run can start from', async () => {
    const folder = join(scratch, 'last');
    const run = startRun(
      {
        ...{ folder, stages: ['critic-rl'], actor: null },
        task: { use: 'miniature', steps: 2, actors: 4 },
        critic: { use: 'generative', model: 'task:blank', max_new_tokens: 4 },
        workers: { critic: { threads: 1 } },
        critic_rl: { steps: 1, states: 8, evaluate_every: 1, keep: 'last' },
        evaluation: { states: 4 },
      },
      { workers },
    );
    expect(await run.finished).toBe('done');
    const { progress } = await readCheckpoint(join(folder, 'checkpoints', 'critic-rl'));
    expect(progress).toEqual({});
  }, 120_000);
});
