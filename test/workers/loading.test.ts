/**
 * Options that say how a model's files are read: their defaults, and that they reach the worker.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';
import generative from '../../plugins/critics/generative.ts';
import { loadingSchema } from '../../src/bridge/model-options.ts';
import { configSchema } from '../../src/config/schema.ts';
import type { CriticModelOptions } from '../../src/critic.ts';
import { loadingOf, plainLoading } from '../../src/workers/loading.ts';
import { bareCriticEnvironment } from '../fixtures/critic-environment.ts';

const given = {
  revision: 'v1.0',
  trust_remote_code: true,
  attn_implementation: 'eager',
  quantization_config: { load_in_4bit: true, bnb_4bit_compute_dtype: 'bfloat16' },
  tokenizer: 'someone/words',
  chat_template_kwargs: { enable_thinking: false },
  engine: 'mine:Engine',
  gradient_checkpointing: true,
  share_prefixes: true,
  offload_optimizer: true,
  memory_share: 0.25,
};

it('a model is loaded as its folder says where nothing is given', () => {
  expect(plainLoading).toEqual({
    revision: null,
    trust_remote_code: false,
    attn_implementation: null,
    quantization_config: null,
    tokenizer: null,
    chat_template_kwargs: {},
    engine: 'transformers',
    engine_options: {},
    gradient_checkpointing: false,
    share_prefixes: false,
    offload_optimizer: false,
    memory_share: null,
  });
  expect(Object.keys(plainLoading)).toEqual(Object.keys(loadingSchema.shape));
});

it('the actor’s options of the config are those of load_model', () => {
  const config = configSchema.parse({
    folder: 'run',
    task: 'miniature',
    critic: 'group-mean',
    actor: { model: 'm', ...given },
  });
  expect(loadingOf(config.actor!)).toEqual({ ...given, engine_options: {} });
  expect(loadingOf(configSchema.shape.actor.unwrap().parse({ model: 'm' }))).toEqual(plainLoading);
});

it('the critic’s reach its worker, also when it goes on from a folder', async () => {
  const asked: CriticModelOptions[] = [];
  const environment = bareCriticEnvironment({
    loadModel: async (_, options) => {
      asked.push(options);
      return { loaded: { context_length: null } } as never;
    },
  });
  const options = generative.options.parse({ model: 'm', ...given });
  const critic = await generative.create(options, environment);
  await critic.load!('folder');
  expect(asked.map(({ model, loading }) => ({ model, loading }))).toEqual([
    { model: 'm', loading: { ...given, engine_options: {} } },
    { model: 'folder', loading: { ...given, engine_options: {} } },
  ]);
});

const plain = configSchema.shape.actor.unwrap().parse({ model: 'm' });

it('a tokenizer’s folder is absolute for the worker, which runs elsewhere', () => {
  const folder = mkdtempSync(join(tmpdir(), 'genac-'));
  expect(loadingOf({ ...plain, tokenizer: relative('.', folder) }).tokenizer).toBe(folder);
});

it.each([
  [{ attn_implementation: '' }],
  [{ trust_remote_code: 'yes' }],
  [{ quantization_config: 'bnb' }],
  [{ chat_template_kwargs: null }],
])('%j is not valid', (wrong) => {
  expect(generative.options.safeParse({ model: 'm', ...wrong }).success).toBe(false);
});
