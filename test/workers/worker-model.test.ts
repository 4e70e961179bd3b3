/** Faults that a model's client must notice, put in by a worker that answers wrongly. */
import { describe, expect, it } from 'vitest';
import { type Tensors, tensor } from '../../src/bridge/tensor.ts';
import type { Worker } from '../../src/bridge/worker.ts';
import { WorkerModel } from '../../src/workers/worker-model.ts';

const loaded = {
  parameters: 1,
  trainable_parameters: 1,
  device: 'cpu',
  dtype: 'float32',
  vocabulary_size: 9,
  eos_token_id: 1,
  context_length: 8,
  has_chat_template: false,
  sampling: 'together',
  reproducible: true,
  slow_because: null,
  step: 0,
  version: 0,
};

/** A model whose worker gives these answers, and what it was asked. */
async function modelWith(answers: Record<string, { result: object; tensors?: Tensors }>) {
  const asked: { operation: string; args: unknown; tensors: Tensors }[] = [];
  const request = async (operation: string, args: unknown, options: { tensors?: Tensors } = {}) => {
    asked.push({ operation, args, tensors: options.tensors ?? {} });
    const answer = operation === 'load_model' ? { result: loaded } : answers[operation]!;
    return { seconds: 0, tensors: {}, ...answer };
  };
  const worker = { name: 'w', request } as unknown as Worker;
  const model = await WorkerModel.load(worker, 'actor', {
    source: 's',
    kind: 'causal',
    initialization: 'pretrained',
    seed: 0,
    device: 'cpu',
    dtype: 'float32',
    lora: null,
    optimizer: { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0 },
  });
  return { model, asked };
}

const step = (update_norm: number) => ({
  step: { result: { step: 1, grad_norm: 0.5, update_norm } },
});

describe('WorkerModel', () => {
  it('fails where a gradient moved no weight', async () => {
    const { model } = await modelWith(step(0));
    await expect(model.optimize(1e-3, 1)).rejects.toThrow(
      'step 1 had a gradient of norm 0.5 and a learning rate of 0.001, but no weight moved',
    );
    const { model: good } = await modelWith(step(1e-4));
    await expect(good.optimize(1e-3, 1)).resolves.toMatchObject({ step: 1 });
  });

  it('asks nothing of a gradient that is too small to move a weight', async () => {
    const noise = { step: { result: { step: 1, grad_norm: 1.4e-17, update_norm: 0 } } };
    const { model } = await modelWith(noise);
    await expect(model.optimize(1e-3, 1)).resolves.toMatchObject({ step: 1 });
  });

  it('fails where another version is served than was trained', async () => {
    const { model } = await modelWith({
      ...step(1e-4),
      publish: { result: { version: 0, digest: 'x' } },
    });
    await model.optimize(1e-3, 1);
    await expect(model.publish()).rejects.toThrow('version 0 is served, but 1 was trained');
  });

  it('puts each value beside its token, and nothing beside a prompt', async () => {
    const { model, asked } = await modelWith({
      accumulate: { result: { accumulations: 1, statistics: {} } },
    });
    const sequences = [
      { promptIds: Int32Array.of(1, 2), completionIds: Int32Array.of(3, 4, 5) },
      { promptIds: Int32Array.of(6), completionIds: Int32Array.of(7) },
    ];
    const stream = { kind: 'pg', coefficient: 1, clip_low: 0.2, clip_high: 0.2 } as const;
    await model.accumulate(
      sequences,
      [Uint8Array.of(1, 0, 1), null],
      [{ stream, tensors: { advantages: [[10, 20, 30], 40] } }],
      3,
    );
    const { tensors } = asked.at(-1)!;
    const numbers = (name: string) => [...(tensors[name]!.data as Int32Array | Float32Array)];
    expect(numbers('ids')).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(numbers('cu_seqlens')).toEqual([0, 5, 7]);
    expect(numbers('mask')).toEqual([0, 0, 1, 0, 1, 0, 1]);
    expect(numbers('pg.advantages')).toEqual([0, 0, 10, 20, 30, 0, 40]);
    await expect(
      model.accumulate(sequences, null, [{ stream, tensors: { advantages: [[1], 1] } }], 1),
    ).rejects.toThrow('sequence 0 has 3 tokens but 1 values');
  });

  it('accumulates in requests of 256 sequences, and uses memory again once one is answered', async () => {
    const { model, asked } = await modelWith({
      accumulate: { result: { accumulations: 1, statistics: { loss: 0.5, tokens: 2 } } },
    });
    const sequences = Array.from({ length: 1000 }, (_, i) => ({
      promptIds: Int32Array.of(i, i),
      completionIds: Int32Array.of(i),
    }));
    const seen: number[][] = [];
    const request = model.worker.request.bind(model.worker) as (
      ...given: unknown[]
    ) => Promise<never>;
    const running = new Set<ArrayBufferLike>();
    model.worker.request = (async (...given: unknown[]) => {
      const { tensors } = given[2] as { tensors: Tensors };
      const buffers = ['ids', 'mask', 'ce.weights'].map((name) => tensors[name]!.data.buffer);
      for (const buffer of buffers) {
        expect(running.has(buffer)).toBe(false);
        running.add(buffer);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
      seen.push(Array.from(tensors['ce.weights']!.data as Float32Array));
      expect(tensors.ids!.data[0]).toBe(tensors.ids!.data[1]);
      for (const buffer of buffers) running.delete(buffer);
      return request(...given);
    }) as never;
    const statistics = await model.accumulate(
      sequences,
      null,
      [
        {
          stream: { kind: 'ce', coefficient: 1 },
          tensors: { weights: sequences.map((_, i) => i) },
        },
      ],
      3,
    );
    expect(statistics).toEqual({ loss: 2, tokens: 8 });
    expect(seen.map(({ length }) => length)).toEqual([768, 768, 768, 696]);
    expect(seen.flat()).toEqual(sequences.flatMap((_, i) => [0, 0, i]));
    const buffers = new Set(asked.slice(1).map(({ tensors }) => tensors.ids!.data.buffer));
    expect(buffers.size).toBe(2);
  });

  it('hands on what the answer has and no part had: a part can be lost', async () => {
    const tensors = {
      prompt_ids: tensor(Int32Array.of(1)),
      prompt_cu_seqlens: tensor(Int32Array.of(0, 1)),
      completion_ids: tensor(Int32Array.of(5, 6)),
      completion_cu_seqlens: tensor(Int32Array.of(0, 1, 2)),
      logprobs: tensor(Float32Array.of(-1, -2)),
      text_ends: tensor(Int32Array.of(1, 1)),
    };
    const finish_reasons = ['length', 'length'];
    const { model } = await modelWith({
      sample: { result: { texts: ['x', 'y'], finish_reasons, version: 0 }, tensors },
    });
    const told: [number, string][] = [];
    const answered = await model.sample({
      ...{ prompts: ['p'], completionsPerPrompt: 2, seed: () => [1, 2] as const },
      ...{ max_new_tokens: 3, temperature: 1, top_p: null, top_k: null, stop_strings: [] },
      onFinished: (i, { text }) => void told.push([i, text]),
    });
    expect(answered.map(({ text }) => text)).toEqual(['x', 'y']);
    expect(told).toEqual([
      [0, 'x'],
      [1, 'y'],
    ]);
  });

  it('refuses an answer whose offsets do not fit its tokens', async () => {
    const cu = {
      prompt_ids: tensor(Int32Array.of(1)),
      prompt_cu_seqlens: tensor(Int32Array.of(0, 1)),
      completion_ids: tensor(Int32Array.of(5, 6)),
      completion_cu_seqlens: tensor(Int32Array.of(0, 3)),
    };
    const { model } = await modelWith({
      sample: { result: { texts: ['x'], finish_reasons: ['length'], version: 0 }, tensors: cu },
    });
    const request = {
      prompts: ['p'],
      completionsPerPrompt: 1,
      seed: () => [1, 2] as const,
      max_new_tokens: 3,
      temperature: 1,
      top_p: null,
      top_k: null,
      stop_strings: [],
    };
    await expect(model.sample(request)).rejects.toThrow(
      'no tensor "completion_ids" that fits "completion_cu_seqlens"',
    );
  });
});
