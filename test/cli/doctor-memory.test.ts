import { afterEach, expect, it, vi } from 'vitest';
import { problemsOf, tableOf, withMachine, withoutGpu } from '../../src/cli/doctor-memory.ts';
import { checkConfig } from '../../src/config/load.ts';
import { modelsOf, type Plan, type PlannedModel } from '../../src/run/planned-models.ts';

const lora = { rank: 2, alpha: 4, dropout: 0, target_modules: null };

const config = checkConfig({
  folder: 'run',
  task: 'miniature',
  actor: { model: 'someone/model', dtype: 'bfloat16', kl: 0.1, memory_share: 0.25 },
  critic: {
    use: 'ensemble',
    critics: [
      { use: 'value-head', model: 'a', worker: 'critic' },
      { use: 'generative', model: 'task:blank', worker: 'critic', lora },
    ],
  },
} as Parameters<typeof checkConfig>[0]);

it('the models that a run would load, without loading them', async () => {
  const found = await modelsOf(config, '.');
  expect(found.map(({ worker, model }) => [worker, model.model, model.source, model.kind])).toEqual(
    [
      ['actor', 'actor', 'someone/model', 'causal'],
      ['actor', 'reference', 'someone/model', 'causal'],
      ['critic', expect.stringContaining('critic'), 'a', 'value'],
      ['critic', expect.stringContaining('critic'), 'task:blank', 'causal'],
    ],
  );
  const [actor, reference, , generative] = found.map(({ model }) => model);
  expect(actor!.loading.memory_share).toBe(0.25);
  expect(actor!.optimizer).not.toBeNull();
  expect(reference!.optimizer).toBeNull();
  expect(generative!.lora).toEqual(lora);
});

const GiB = 2 ** 30;

function entry(worker: string, changes: Partial<Plan> = {}): PlannedModel {
  const plan: Plan = {
    ...{ weights: 1500, trained: 1500, dtype: 'bfloat16' },
    bytes: {
      ...{ network: 3 * GiB, masters: 6 * GiB, gradients: 6 * GiB },
      ...{ moments: 12 * GiB, served: 3 * GiB, logits: 2.5 * GiB },
    },
    ...{ kept_per_token: 3 * 2 ** 20, recomputed_per_token: 2 ** 18, cache_per_token: 2 ** 15 },
    ...{ device: 'cuda', device_bytes: 80 * GiB, share: 0.5 },
    ...{ tokens: 1234, tokens_recomputed: 12345 },
    ...changes,
  };
  const loading = { engine: 'transformers', engine_options: {} };
  return { worker, model: { model: worker, loading } as PlannedModel['model'], plan };
}

/** With an actor and a critic that see these GPUs. */
const seeing = (actor: string | null, critic: string | null) => ({
  ...config.workers,
  ...{ actor: { devices: actor, threads: null }, critic: { devices: critic, threads: null } },
});

afterEach(() => {
  vi.unstubAllEnvs();
});

it('one row a model, and what its tokens take', () => {
  const unplanned: PlannedModel = { ...entry('critic'), plan: 'the task makes it for a run' };
  expect(tableOf([entry('actor'), unplanned])).toEqual([
    'GiB           network  float32  gradients  moments  served  head   sum            of  tokens at once  recomputed',
    'actor: actor      3.0      6.0        6.0     12.0     3.0   2.5  32.5  40.0 on cuda           1,234      12,345',
    'actor: actor: 1,500 weights, 1,500 trained, bfloat16; a token takes 3072 KiB in training ' +
      '(256 with gradient_checkpointing), 32 in sampling',
  ]);
});

const small = { device_bytes: 70 * GiB };
const both = [entry('actor', small), entry('critic', small)];
const whatOf = (...given: Parameters<typeof problemsOf>) =>
  problemsOf(...given).map(({ what }) => what);

it.each([
  [null, null, '0'],
  ['0', '0', '0'],
  [null, '0', '0'],
  ['0,1', '0', '0'],
  ['1', ' 01, 0', '1'],
  ['GPU-aB', 'gpu-Ab', 'gpu-ab'],
])('workers of devices %j and %j share a GPU', (actor, critic, gpu) => {
  vi.stubEnv('CUDA_VISIBLE_DEVICES', undefined);
  expect(problemsOf(both, seeing(actor, critic))).toEqual([
    {
      what: `65.0 GiB of actor, critic do not fit into 70.0 on GPU ${gpu}`,
      remedy: expect.stringContaining('use lora'),
    },
  ]);
  expect(problemsOf([entry('actor'), entry('critic')], seeing(actor, critic))).toEqual([]);
});

it.each([
  ['0', '1'],
  [null, '1'],
  ['0,1', '1'], // a model is on the first
])('workers of devices %j and %j do not', (actor, critic) => {
  vi.stubEnv('CUDA_VISIBLE_DEVICES', undefined);
  expect(problemsOf(both, seeing(actor, critic))).toEqual([]);
});

it('a worker without devices has the first GPU of this process', () => {
  vi.stubEnv('CUDA_VISIBLE_DEVICES', '1,0');
  expect(problemsOf(both, seeing(null, '0'))).toEqual([]);
  expect(problemsOf(both, seeing(null, '1'))).toHaveLength(1);
});

it('a vLLM of several processes takes its part of each of their GPUs', () => {
  const withVllm = (engine_options: object) => {
    const { model, ...rest } = entry('actor', small);
    const loading = { engine: 'vllm', engine_options };
    return { ...rest, model: { ...model, loading } as unknown as typeof model };
  };
  const critic = entry('critic', { device_bytes: 34 * GiB });
  const onOne = (options: object) =>
    whatOf([critic, withVllm(options)], seeing('0,1', '1')).filter((what) =>
      what.includes('GPU 1'),
    );
  const apart = ['35.5 GiB of critic, actor do not fit into 34.0 on GPU 1'];
  const alone = ['32.5 GiB of critic do not fit into 34.0 on GPU 1'];
  expect(onOne({ tensor_parallel_size: 2 })).toEqual(apart);
  expect(onOne({ pipeline_parallel_size: 2 })).toEqual(apart);
  expect(onOne({})).toEqual(alone);
  expect(onOne({ url: 'http://a', tensor_parallel_size: 2 })).toEqual(alone);
  // On other GPUs than the model's: .9 of 70 GiB, and 32.5 beside it.
  expect(onOne({ server: true, transfer: 'nccl' })).toEqual([
    '95.5 GiB of critic, actor do not fit into 34.0 on GPU 1',
  ]);
});

it('a model that leaves no room for one token', () => {
  const full = entry('actor', { tokens: 0, tokens_recomputed: 0 });
  expect(whatOf([full], seeing('2', '1'))).toEqual([
    'actor: actor leaves no room for activations in its part of GPU 2',
  ]);
});

it('on a CPU, the memory of the machine is what workers share, whatever their devices', () => {
  const cpu = { device: 'cpu', device_bytes: null, tokens: null, tokens_recomputed: null };
  const planned = [entry('actor', cpu), entry('critic', cpu)];
  expect(problemsOf(withMachine(planned, 80 * GiB), seeing(null, '1'))).toEqual([]);
  expect(problemsOf(withMachine(planned, 24 * GiB), seeing(null, '1'))).toEqual([
    {
      what: '65.0 GiB of actor, critic do not fit into 24.0 on this machine (cpu)',
      remedy: expect.stringContaining('a machine with more memory'),
    },
  ]);
  expect(tableOf(withMachine(planned, 24 * GiB))[1]).toMatch(/24\.0 on cpu +- +-$/);
});

it('a worker that finds no GPU, though its devices name one', () => {
  const { actor, critic } = { actor: '0', critic: '-1' };
  expect(withoutGpu(['actor', 'critic'], seeing(actor, critic))).toEqual([
    {
      what: 'workers.actor.devices: the worker finds no GPU "0"',
      remedy: expect.stringContaining('--memory'),
    },
  ]);
  expect(withoutGpu(['actor'], seeing(null, null))).toEqual([]);
});
