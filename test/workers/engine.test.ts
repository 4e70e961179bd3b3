/** What samples from a model, by name or with options: what is refused before anything starts. */
import { expect, it, test } from 'vitest';
import { checkConfig } from '../../src/config/load.ts';
import { engineOf, engineSchema } from '../../src/workers/engine.ts';

it('an engine is a name, or a name with options of its own', () => {
  expect(engineOf(engineSchema.parse('vllm'))).toEqual({ engine: 'vllm', engine_options: {} });
  const given = { use: 'vllm', enforce_eager: true, max_model_len: 2048, transfer: 'files' };
  expect(engineOf(engineSchema.parse(given))).toEqual({
    engine: 'vllm',
    engine_options: { enforce_eager: true, max_model_len: 2048, transfer: 'files' },
  });
  expect(engineOf(engineSchema.parse({ use: 'mine:Engine', model: 'x' }))).toEqual({
    engine: 'mine:Engine',
    engine_options: { model: 'x' },
  });
});

const base = {
  folder: 'run',
  task: 'miniature',
  critic: 'group-mean',
} as const;

const problemsOf = (actor: object, rest: object = {}): string => {
  try {
    checkConfig({ ...base, actor: { model: 'm', ...actor }, ...rest } as never, 'run.yaml');
    return '';
  } catch (error) {
    return (error as Error).message;
  }
};

test.each([
  [
    { use: 'vllm', logprobs_mode: 'raw_logprobs' },
    'is no option of the engine "vllm": training needs log-prob',
  ],
  [{ use: 'vllm', model: 'other' }, 'it is an option of the model, next to'],
  [{ use: 'vllm', enable_lora: true }, 'adapters are merged into the weights'],
  [{ use: 'vllm', enable_sleep_mode: true }, 'never sent to sleep'],
  [{ use: 'vllm', transfer: 'gloo' }, 'actor.engine.transfer: '],
  [{ use: 'vllm', transfer: 'nccl' }, 'is for a server on other GPUs; give `server: true`, or'],
  [{ use: 'vllm', max_logprob_gap: 0 }, 'actor.engine.max_logprob_gap: '],
  [{ use: 'vllm', gpu_memory_utilization: 90 }, 'actor.engine.gpu_memory_utilization: '],
  [{ use: 'vllm', dtype: 'int8' }, 'actor.engine.dtype: '],
  [{ use: 'transformers', enforce_eager: true }, 'the engine "transformers" has no options'],
])('%j is refused', (engine, said) => {
  expect(problemsOf({ engine })).toContain(said);
});

it('top-k and top-p change what vLLM’s log-probabilities mean', () => {
  const engine = { use: 'vllm', enforce_eager: true };
  for (const [name, value] of [
    ['top_k', 20],
    ['top_p', 0.9],
  ] as const) {
    const rest = { sampling: { [name]: value } };
    expect(problemsOf({ engine }, rest)).toContain(`sampling.${name}: with the engine "vllm"`);
    expect(problemsOf({ engine: 'vllm' }, rest)).toContain(`sampling.${name}: with the engine`);
    expect(problemsOf({ engine: 'transformers' }, rest)).toBe('');
    expect(problemsOf({ engine, old_logprobs: 'recomputed' }, rest)).toBe('');
  }
  expect(problemsOf({ engine }, { sampling: { top_p: 1 } })).toBe('');
});

it('vLLM’s temperatures are .01 to 2', () => {
  for (const temperature of [0.005, 2.5]) {
    const rest = { sampling: { temperature } };
    expect(problemsOf({ engine: 'vllm', old_logprobs: 'recomputed' }, rest)).toContain(
      'the engine "vllm" takes .01 to 2',
    );
    expect(problemsOf({}, rest)).toBe('');
  }
  expect(problemsOf({ engine: 'vllm' }, { sampling: { temperature: 2 } })).toBe('');
});

it('a server that the worker starts takes vLLM’s options, and a Python of its own', () => {
  const engine = { use: 'vllm', server: true, python: '/opt/vllm/bin/python', max_model_len: 10 };
  expect(problemsOf({ engine })).toBe('');
  expect(engineOf(engineSchema.parse({ ...engine, start_timeout: 60 })).engine_options).toEqual({
    ...{ server: true, python: '/opt/vllm/bin/python', start_timeout: 60, max_model_len: 10 },
  });
  expect(problemsOf({ engine: { use: 'vllm', server: true, url: 'http://host:8000' } })).toContain(
    'starts a server, and `url` names one that is there; give one of them',
  );
  expect(problemsOf({ engine: { use: 'vllm', server: 'yes' } })).toContain('actor.engine.server: ');
  expect(problemsOf({ engine: { ...engine, start_timeout: 0 } })).toContain(
    'actor.engine.start_timeout: ',
  );
  for (const given of [{ python: 'python3' }, { start_timeout: 60, url: 'http://host:8000' }])
    expect(problemsOf({ engine: { use: 'vllm', ...given } })).toContain(
      'is for a server that the worker starts; give `server: true`',
    );
});

it('a server has its own options', () => {
  const engine = { use: 'vllm', url: 'http://host:8000', transfer: 'files', folder: '/shared' };
  expect(problemsOf({ engine })).toBe('');
  expect(problemsOf({ engine: { ...engine, transfer: 'nccl', folder: null } })).toBe('');
  expect(problemsOf({ engine: { ...engine, max_model_len: 10 } })).toContain(
    'is for the server at `url`, which was started with its own',
  );
  expect(problemsOf({ engine: { use: 'vllm', url: 'host:8000' } })).toContain('actor.engine.url: ');
});
