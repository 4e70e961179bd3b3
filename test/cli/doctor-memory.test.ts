import { expect, it } from 'vitest';
import { problemsOf, tableOf } from '../../src/cli/doctor-memory.ts';
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
  return { worker, model: { model: worker } as PlannedModel['model'], plan };
}

it('one row a model, and what its tokens take', () => {
  const unplanned: PlannedModel = { ...entry('critic'), plan: 'the task makes it for a run' };
  expect(tableOf([entry('actor'), unplanned])).toEqual([
    'GiB           network  float32  gradients  moments  served  head   sum            of  tokens at once  recomputed',
    'actor: actor      3.0      6.0        6.0     12.0     3.0   2.5  32.5  40.0 on cuda           1,234      12,345',
    'actor: actor: 1,500 weights, 1,500 trained, bfloat16; a token takes 3072 KiB in training ' +
      '(256 with gradient_checkpointing), 32 in sampling',
    'critic: critic: not planned, the task makes it for a run',
  ]);
});

it('what will not fit, by devices', () => {
  expect(problemsOf([entry('actor'), entry('critic')], config.workers)).toEqual([]);
  const small = { device_bytes: 70 * GiB };
  expect(problemsOf([entry('actor', small), entry('critic', small)], config.workers)).toEqual([
    {
      what: '65.0 GiB do not fit into 70.0 on cuda of devices all',
      remedy: expect.stringContaining('use lora'),
    },
  ]);
  const apart = { ...config.workers, critic: { devices: '1', threads: null } };
  expect(problemsOf([entry('actor', small), entry('critic', small)], apart)).toEqual([]);
  expect(problemsOf([entry('actor', { tokens: 0, tokens_recomputed: 0 })], apart)).toEqual([
    {
      what: 'actor: actor leaves no room for activations in its part of cuda of devices all',
      remedy: expect.any(String),
    },
  ]);
  const onCpu = { device: 'cpu', device_bytes: null, tokens: null, tokens_recomputed: null };
  expect(problemsOf([entry('actor', onCpu)], config.workers)).toEqual([]);
});
