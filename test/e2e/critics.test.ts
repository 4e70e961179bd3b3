/**
 * Every critic in a run: both schedules give the same numbers, and a resumed run goes on exactly.
 */
import { cpSync, existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { resumeRun, startRun } from '../../src/run/run.ts';
import { readMetrics } from '../../src/run-folder/read.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { undocumented } from '../fixtures/documented-metrics.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-critics-'));
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

const learns = { joint: { steps: 3, learning_rate: 1e-3 } };
const critics = {
  'value-head': {
    critic: { use: 'value-head', model: 'task:blank', lambda: 0.9, clip: 0.2 },
    ...learns,
  },
  'monte-carlo': { critic: { use: 'monte-carlo', continuations: 3 }, joint: { steps: 3 } },
  'language-model': {
    critic: { use: 'language-model', model: 'task:blank', max_new_tokens: 4 },
    ...learns,
  },
  'generative, with fewer tokens': {
    critic: {
      ...{ use: 'generative', model: 'task:blank', max_new_tokens: 12, answer: 'forced' },
      ...{
        share_prefixes: true,
        carry_until: 'left',
        share_of_states: 0.7,
        sure_within: 0.28,
        look_every: 4,
      },
    },
    ...learns,
  },
  ensemble: {
    critic: {
      use: 'ensemble',
      by: 'cascade',
      critics: [
        { use: 'value-head', model: 'task:blank' },
        { use: 'language-model', model: 'task:blank', max_new_tokens: 4 },
      ],
    },
    ...learns,
  },
} as const;

function config(name: string, changes: Pick<ConfigInput, 'critic'>): ConfigInput {
  return {
    folder: join(scratch, name),
    stages: ['joint'],
    task: { use: join(root, 'test/fixtures/length-task.ts') },
    actor: { model: 'task:blank', learning_rate: 1e-3 },
    sampling: { batch_size: 2, num_generations: 3, max_new_tokens: 12 },
    gates: { joint: null, explained_variance: false },
    icc: { warm_rollouts: 4 },
    evaluation: { every: 0, prompts: 4, states: 8 },
    checkpoints: { every: 1, keep: 9 },
    ...changes,
  };
}

const lines = (name: string) =>
  readMetrics(join(scratch, name)).map((line) =>
    Object.fromEntries(Object.entries(line).filter(([key]) => !key.startsWith('seconds'))),
  );

describe.each(Object.entries(critics))('%s', (name, choice) => {
  it('trains an actor, with the same numbers by either schedule and after a resume', async () => {
    const start = (as: string, changes: Pick<ConfigInput, 'critic'>) =>
      startRun(config(as, changes), { workers, base: root }).finished;
    await start(name, choice);
    const whole = lines(name);
    const iterations = whole.filter(({ type }) => type === 'iteration');
    expect(iterations).toHaveLength(3);
    expect(undocumented(whole.flatMap(Object.keys))).toEqual([]);
    for (const line of iterations) expect(line['critic/states']).toBeGreaterThan(0);

    const changes = { ...choice, joint: { ...choice.joint, schedule: 'pipelined' } as const };
    await start(`${name}-pipelined`, changes);
    expect(lines(`${name}-pipelined`)).toEqual(whole);

    cpSync(join(scratch, name), join(scratch, `${name}-resumed`), { recursive: true });
    const resumed = join(scratch, `${name}-resumed`);
    await resumeRun(resumed, { workers, from: 'joint-000001', trustCode: true }).finished;
    expect(lines(`${name}-resumed`)).toEqual(whole);
  }, 120_000);
});

it('lets a critic that heeds its signal finish the iteration in which the run is stopped', async () => {
  const critic = { use: join(root, 'test/fixtures/signal-critic.ts') };
  const run = startRun(config('stopped', { critic, joint: { steps: 50 } } as never), {
    ...{ workers, base: root },
  });
  for await (const event of run)
    if (event.type === 'phase' && event.iteration === 1 && event.phase === 'value') void run.stop();
  expect(await run.finished).toBe('stopped');
  const iterations = lines('stopped').filter(({ type }) => type === 'iteration');
  expect(iterations).toHaveLength(2);
  expect(existsSync(join(scratch, 'stopped', 'checkpoints', 'joint-000002'))).toBe(true);
}, 60_000);
