/**
 * Runs whose actor and critic are sampled by vLLM: of a model that is small enough to learn here,
 * and of SmolLM2-135M (some minutes). They need an environment of their own (docs/vllm.md), so they
 * run when asked, with the Python of it:
 *
 *     GENAC_TEST_VLLM=.venv-vllm/bin/python npx vitest run test/e2e/vllm.test.ts
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { vocabulary, writeModelFolder } from '../../plugins/tasks/chains/model-folder.ts';
import { miniatureSize } from '../../plugins/tasks/miniature/base-actor.ts';
import { registerMachine } from '../../plugins/tasks/miniature/chains.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { mean } from '../../src/math/statistics.ts';
import { startRun } from '../../src/run/run.ts';
import type { RunEvent } from '../../src/run-folder/events.ts';
import { metric, readMetrics } from '../../src/run-folder/read.ts';
import { engineOf } from '../../src/workers/engine.ts';
import { plainLoading } from '../../src/workers/loading.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { findPython } from '../../src/workers/python.ts';
import { WorkerModel } from '../../src/workers/worker-model.ts';
import { undocumented } from '../fixtures/documented-metrics.ts';

const root = new URL('../..', import.meta.url).pathname;
const python = process.env.GENAC_TEST_VLLM;
const scratch = mkdtempSync(join(tmpdir(), 'genac-vllm-'));
const model = join(scratch, 'model');
let workers: WorkerGroup;

const use = { use: 'vllm', enforce_eager: true, kv_cache_memory_bytes: 2 ** 27 };
const importance_sampling = { mode: 'token_truncate', cap: 2 } as const;
const critic = {
  ...{ use: 'generative', thinking: false, max_new_tokens: 6, completions_per_state: 2 },
  ...{ baseline: 'leave-one-out', engine: use, importance_sampling },
};

async function run(input: Partial<ConfigInput>): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  const task = { use: join(root, 'test/fixtures/parity-task.ts') };
  const gates = { joint: null, explained_variance: false };
  const common = { task, gates, evaluation: { every: 0, prompts: 4, states: 8 } };
  const started = startRun({ ...common, ...input } as ConfigInput, { workers, base: root });
  for await (const event of started) events.push(event);
  return events;
}

describe.runIf(python)('with vLLM', () => {
  beforeAll(async () => {
    const env = { OMP_WAIT_POLICY: 'PASSIVE', GOMP_SPINCOUNT: '0' };
    workers = await startWorkers({
      python: resolve(python!),
      workers: [
        { name: 'actor', threads: 1, env },
        { name: 'critic', threads: 1, env },
      ],
    });
    // Its kernels for CPUs want heads at least 32 wide.
    const source = join(scratch, 'source');
    await writeModelFolder(source, { ...miniatureSize, heads: 2 }, vocabulary(registerMachine, 8));
    const blank = await WorkerModel.load(workers.get('actor'), 'blank', {
      ...{ source, kind: 'causal', initialization: 'random', seed: 0, device: 'auto' },
      ...{ dtype: 'float32', lora: null, optimizer: null },
    });
    await blank.save(model, false);
  }, 300_000);
  afterAll(() => workers?.close());

  it('the critic learns to write scores, and then both train, with the gap in the metrics', async () => {
    await run({
      ...{ folder: join(scratch, 'speaking'), stages: ['critic-sft'], actor: null },
      critic: { ...critic, model },
      critic_sft: {
        ...{ steps: 40, cooldown: 0, warmup: 5, batch: 32, evaluate_every: 100 },
        learning_rate: 5e-3,
      },
    });
    const speaking = join(scratch, 'speaking/checkpoints/critic-sft/critic');
    const folder = join(scratch, 'joint');
    const events = await run({
      ...{ folder, stages: ['joint'] },
      critic: { ...critic, model: speaking },
      // Less exact than what is trained, so that there is something to correct.
      actor: {
        ...{ model, engine: { ...use, dtype: 'bfloat16' }, learning_rate: 3e-3 },
        ...{ old_logprobs: 'recomputed', importance_sampling, max_sampling_kl: 0.01 },
      },
      sampling: { batch_size: 8, num_generations: 4, max_new_tokens: 12 },
      credit: { lambda: 0.5 },
      icc: { warm_rollouts: 4 },
      joint: { steps: 12, learning_rate: 1e-3 },
    });
    const log = events.flatMap((event) => (event.type === 'message' ? [event.text] : []));
    for (const as of ['actor', 'critic'])
      expect(log).toContain(
        `${as}: its engine samples other responses each time, so the run can't be repeated exactly`,
      );
    const lines = readMetrics(folder).filter(({ type }) => type === 'iteration');
    expect(lines).toHaveLength(12);
    const of = (name: string) => lines.map((line) => metric(line, name)!);
    for (const name of ['update_norm', 'critic/update_norm', 'actor/sampling_kl'])
      for (const value of of(name)) expect(value, name).toBeGreaterThan(0);
    // bfloat16 against float32, and float32 against float32.
    for (const value of of('sampling/sampling_logp_difference/mean')) {
      expect(value).toBeGreaterThan(1e-4);
      expect(value).toBeLessThan(0.05);
    }
    for (const value of of('critic/sampling_logp_difference/mean'))
      expect(value).toBeLessThan(1e-4);
    for (const value of of('critic/importance_sampling_ratio/mean'))
      expect(value).toBeCloseTo(1, 3);
    const reward = of('reward');
    expect(mean(reward.slice(-4))).toBeGreaterThan(mean(reward.slice(0, 4)) + 0.1);
    expect(undocumented(lines.flatMap((line) => Object.keys(line)))).toEqual([]);
  }, 600_000);

  it('SmolLM2-135M goes through every stage: whole actor, adapter of the critic', async () => {
    const source = join(root, 'runs/smollm2/model');
    const fetch = [join(root, 'examples/smollm2/fetch.py'), source];
    execFileSync(findPython(), fetch, { stdio: 'ignore' });
    const engine = { ...use, max_model_len: 1024, kv_cache_memory_bytes: 2 ** 29 };
    const lora = { rank: 4, alpha: 8, dropout: 0, target_modules: null };
    const folder = join(scratch, 'smollm2');
    await run({
      ...{ folder, stages: ['critic-sft', 'critic-rl', 'joint'] },
      critic: { ...critic, model: source, engine, lora, dtype: 'float32', max_new_tokens: 12 },
      actor: {
        ...{ model: source, engine, dtype: 'float32', learning_rate: 1e-5 },
        ...{ old_logprobs: 'recomputed', importance_sampling, max_sampling_kl: 0.01 },
      },
      sampling: { batch_size: 2, num_generations: 2, max_new_tokens: 16 },
      icc: { warm_rollouts: 2 },
      critic_sft: { steps: 1, cooldown: 0, warmup: 0, batch: 4, evaluate_every: 100 },
      critic_rl: { steps: 1, warmup: 0, states: 4, evaluate_every: 100 },
      joint: { steps: 2 },
      evaluation: { every: 0, prompts: 2, states: 4 },
      checkpoints: { best: false },
    });
    const joint = readMetrics(folder).filter(
      ({ type, stage }) => type === 'iteration' && stage === 'joint',
    );
    expect(joint).toHaveLength(2);
    // The second iteration is of weights that the first one changed.
    for (const line of joint) {
      expect(metric(line, 'update_norm')).toBeGreaterThan(0);
      expect(metric(line, 'sampling/sampling_logp_difference/mean')).toBeLessThan(1e-3);
      // One step does not teach it to score.
      expect(metric(line, 'critic/tokens_written')).toBeGreaterThan(0);
    }
  }, 900_000);

  it('a worker without vLLM starts a server for each of its models, in a Python that has it', async () => {
    const env = { OMP_WAIT_POLICY: 'PASSIVE', GOMP_SPINCOUNT: '0' };
    const group = await startWorkers({ workers: [{ name: 'both', threads: 1, env }] });
    const engine = { ...use, server: true, python: resolve(python!), max_model_len: 256 };
    try {
      for (const name of ['actor', 'critic']) {
        // What it serves is compared with the trained weights, here and after `publish`.
        const served = await WorkerModel.load(group.get('both'), name, {
          ...{ source: model, kind: 'causal', initialization: 'pretrained', seed: 0 },
          ...{ device: 'auto', dtype: 'float32', lora: null, optimizer: null },
          loading: { ...plainLoading, ...engineOf(engine) },
        });
        expect(served.loaded.reproducible).toBe(false);
        expect(await served.publish()).toMatchObject({ version: 0 });
      }
      const logs = readdirSync(group.logDirectory);
      expect(logs.sort()).toEqual(['both.actor.vllm.log', 'both.critic.vllm.log', 'both.log']);
    } finally {
      await group.close();
    }
  }, 900_000);
});
