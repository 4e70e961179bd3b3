/**
 * Every critic on the embedded task: those that learn fall below the best constant, on chains of
 * two steps; the others are below it from the start. It takes minutes, so it runs when asked:
 *
 *     GENAC_TEST_LEARNING=1 npx vitest run test/e2e/critics-learn.test.ts
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evaluate } from '../../src/comparison/evaluate.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { startRun } from '../../src/run/run.ts';
import { metric, readMetrics } from '../../src/run-folder/read.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-learn-'));
const task = { use: 'miniature', steps: 2, actors: 64 };
let workers: WorkerGroup;

/** Held-out error after training, as a share of the best constant's. */
async function trained(name: string, config: Partial<ConfigInput>): Promise<number> {
  const folder = join(scratch, name);
  const input = { actor: null, evaluation: { states: 256 }, ...config, task, folder };
  await startRun(input as ConfigInput, { workers }).finished;
  const last = readMetrics(folder)
    .filter((line) => line.type === 'evaluation')
    .at(-1)!;
  const [mse, constant] = ['critic/heldout_mse', 'critic/heldout_mse_of_constant'].map((of) =>
    metric(last, of),
  );
  return mse! / constant!;
}

describe.runIf(process.env.GENAC_TEST_LEARNING)('on the embedded task', () => {
  beforeAll(async () => {
    workers = await startWorkers({
      workers: [
        { name: 'actor', threads: 1 },
        { name: 'critic', threads: 1 },
      ],
    });
  }, 120_000);
  afterAll(() => workers?.close());

  const sft = { batch: 64, steps: 400, cooldown: 100, warmup: 10, learning_rate: 3e-3 };
  const rl = { steps: 10, states: 128, learning_rate: 3e-4, warmup: 2, evaluate_every: 10 };
  const words = { use: 'generative', model: 'task:blank', max_new_tokens: 32 } as const;

  it.each([
    ['generative', { ...words, completions_per_state: 4, temperature: 0.7 }],
    ['generative, expected', { ...words, read: 'expected' }],
    ['language-model', { ...words, use: 'language-model', read: 'expected', max_new_tokens: 6 }],
  ])(
    '%s learns',
    async (name, critic) => {
      const stages = ['critic-sft', 'critic-rl'] as const;
      const parts = { critic_sft: { ...sft, evaluate_every: 100 }, critic_rl: rl };
      expect(await trained(name, { stages: [...stages], critic, ...parts })).toBeLessThan(0.9);
    },
    600_000,
  );

  it.each([
    ['one number', {}, 3e-3],
    ['bounded', { bounded: true }, 3e-3],
    ['categorical', { categorical: 21 }, 1e-2],
  ])(
    'value-head, %s, learns',
    async (name, options, learning_rate) => {
      const share = await trained(`head-${name}`, {
        stages: ['critic-rl'],
        critic: { use: 'value-head', model: 'task:blank', ...options },
        critic_rl: {
          ...{ steps: 400, states: 256, states_per_response: 'all', learning_rate },
          ...{ decay: 'linear', warmup: 10, evaluate_every: 400 },
        },
      });
      expect(share).toBeLessThan(0.97);
    },
    600_000,
  );

  it('monte-carlo, group-mean, oracle and an ensemble are below the constant from the start', async () => {
    const result = await evaluate(
      {
        ...{ folder: join(scratch, 'evaluation'), bootstrap: 200, prompts: 96 },
        task: { use: 'miniature' },
        ...{ candidates: 4, num_generations: 4 },
        actor: { model: 'task:base-actor' },
        sampling: { max_new_tokens: 20 },
        critics: {
          mc: 'monte-carlo',
          mean: 'group-mean',
          oracle: 'oracle',
          both: { use: 'ensemble', critics: ['monte-carlo', 'oracle'] },
        },
      },
      { workers },
    );
    const { critics } = result.distributions.none!;
    const mse = (name: string) => critics[name]!.figures.mse!.value;
    for (const name of ['mc', 'mean', 'both']) expect(mse(name)).toBeLessThan(mse('(constant)'));
    expect(mse('oracle')).toBe(0);
    expect(mse('both')).toBeLessThan(mse('mc'));
  }, 600_000);
});
