/**
 * The generative critic values and learns part by part: what it holds does not grow with a batch.
 */
import { expect, it } from 'vitest';
import { refuseTooLarge } from '../../plugins/critics/generative/fits-memory.ts';
import generative from '../../plugins/critics/generative.ts';
import { type Tensors, tensor } from '../../src/bridge/tensor.ts';
import type { Worker } from '../../src/bridge/worker.ts';
import { criticEnvironment } from '../../src/extensions/critic-environment.ts';
import type { Sampled } from '../../src/language-model.ts';
import { paperFormat } from '../../src/text/critic-prompt.ts';
import type { State } from '../../src/types.ts';

const loaded = {
  ...{
    parameters: 1,
    trainable_parameters: 1,
    device: 'cpu',
    dtype: 'float32',
    vocabulary_size: 9,
  },
  ...{
    eos_token_id: 1,
    context_length: null,
    has_chat_template: true,
    sampling: 'together',
    reproducible: true,
    slow_because: null,
  },
  ...{ step: 0, version: 0 },
};
const actor = { name: 'a', parameters: 1, successRate: 0.5 };
const problem = { id: 'p', prompt: 'p', columns: {} };
const states = Array.from(
  { length: 2000 },
  (_, i): State => ({
    ...{
      id: `t${i}.1`,
      problem,
      response: `r${i}`,
      index: 1,
      group: 0,
      trajectory: i,
      tokens: null,
      actor,
    },
  }),
);

/** Answers state i with the score i % 11, and every tenth with none. */
function sampled(prompts: readonly unknown[]): { result: object; tensors: Tensors } {
  const numbers = prompts.map((prompt) =>
    Number(/\nr(\d+)\n/.exec(JSON.stringify(prompt).replaceAll('\\n', '\n'))![1]),
  );
  const n = numbers.length;
  const cu = Int32Array.from({ length: n + 1 }, (_, i) => i);
  return {
    result: {
      texts: numbers.map((i) =>
        i % 10 === 0 ? `words ${i}` : `words ${i}\n<score>${i % 11}</score>`,
      ),
      finish_reasons: numbers.map(() => 'stop_token'),
      ...{ version: 0, padding_tokens: 0, cached_tokens: 0 },
    },
    tensors: {
      ...{ prompt_ids: tensor(Int32Array.from(numbers)), prompt_cu_seqlens: tensor(cu) },
      ...{ completion_ids: tensor(Int32Array.from(numbers)), completion_cu_seqlens: tensor(cu) },
      ...{ logprobs: tensor(new Float32Array(n)), text_ends: tensor(new Int32Array(n)) },
    },
  };
}

async function criticThatCounts() {
  const counts = { made: 0, answered: 0, waiting: 0 };
  const trained: number[] = [];
  const request = async (
    operation: string,
    args: { prompts: unknown[] },
    options: { tensors?: Tensors },
  ) => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    const answer = (result: object, tensors: Tensors = {}) => ({ result, tensors, seconds: 0 });
    if (operation === 'load_model') return answer(loaded);
    if (operation === 'step') return answer({ step: 1, grad_norm: 1, update_norm: 1 });
    if (operation === 'publish') return answer({ version: 1, digest: '' });
    if (operation === 'accumulate') {
      const { ids, 'ce.weights': weights } = options.tensors!;
      for (let i = 1; i < ids!.data.length; i += 2)
        trained.push(Number(ids!.data[i]), Number(weights!.data[i]));
      return answer({ accumulations: 1, statistics: { loss: 1 } });
    }
    counts.answered += args.prompts.length;
    const { result, tensors } = sampled(args.prompts);
    return answer(result, tensors);
  };
  const format = {
    ...paperFormat,
    prompt: (...given: Parameters<typeof paperFormat.prompt>) => {
      counts.made++;
      counts.waiting = Math.max(counts.waiting, counts.made - counts.answered);
      return paperFormat.prompt(...given);
    },
  };
  const options = generative.options.parse({ model: 'm', read: 'sampled' });
  const worker = { name: 'w', request } as unknown as Worker;
  const environment = criticEnvironment({
    ...{ seed: 0, format, runFolder: null, signal: new AbortController().signal },
    ...{ log: () => {}, worker: () => worker },
  });
  const critic = await generative.create(options, environment);
  return { critic, counts, trained };
}

it('makes the prompts of two requests at a time, and reads each answer for its own state', async () => {
  const { critic, counts } = await criticThatCounts();
  const valuations = await critic.value(states, { purpose: 'test', iteration: 0 });
  expect(counts).toMatchObject({ made: 2000, answered: 2000 });
  expect(counts.waiting).toBeLessThanOrEqual(512);
  for (const [i, valuation] of valuations.entries()) {
    const none = i % 10 === 0;
    expect(valuation.value).toBe(none ? 0.5 : (i % 11) / 10);
    expect(valuation.parsed).toBe(none ? 'malformed' : 'ok');
    expect(valuation.rationale).toBe(`words ${i}`);
    const [completion] = valuation.completions;
    expect(valuation.completions).toHaveLength(1);
    expect(completion!.score).toBe(none ? null : i % 11);
    expect([completion!.promptIds[0], completion!.completionIds[0]]).toEqual([i, i]);
  }
});

it('trains each completion with its own weight', async () => {
  const { critic, trained } = await criticThatCounts();
  const valuations = await critic.value(states, { purpose: 'test', iteration: 0 });
  const outcomes = states.map((state, i) => ({ state, valuation: valuations[i]!, rewards: [1] }));
  const metrics = await critic.learn!(outcomes, { learningRate: 1, maxGradNorm: null });
  // R = 1 - (1 - v)^2, and 0 where there is no score.
  const earned = states.map((_, i) => (i % 10 === 0 ? 0 : 1 - (1 - (i % 11) / 10) ** 2));
  expect(trained).toEqual(earned.flatMap((reward, i) => [i, Math.fround(reward)]));
  expect(metrics).toMatchObject({ parse_rate: 0.9, mean_length: 1, tokens: 2000 });
  expect(metrics.reward).toBeCloseTo(earned.reduce((a, b) => a + b, 0) / 2000, 12);
});

it('refuses a batch that would not fit in memory, and says what to do', () => {
  const of = (text: string): Sampled => ({
    ...{ promptIds: new Int32Array(700), completionIds: new Int32Array(200), text },
    ...{
      logprobs: new Float32Array(),
      textEnds: new Int32Array(),
      finishReason: 'length',
      version: 0,
    },
  });
  const memory = { heap: 4 * 2 ** 30, machine: 20 * 2 ** 30 };
  const ask = (states: number, text: string, perState = 1) => {
    const sampled = Array.from({ length: 2 * perState }, () => of(text));
    refuseTooLarge(states, sampled, perState, memory);
  };
  ask(1_210_000, 'x'.repeat(850));
  // 3,000,000 x (1,300 + 850) bytes; with two bytes for each unit, 1,500,000 x (1,300 + 1,700).
  expect(() => ask(3_000_000, 'x'.repeat(850))).toThrow(
    'the values of 3000000 states need about 6.0 GB of JavaScript heap, and Node may use 4.0 GB. ' +
      'Lower sampling.batch_size, sampling.num_generations or max_segments of credit.segmentation, ' +
      'or set NODE_OPTIONS=--max-old-space-size=9227.',
  );
  expect(() => ask(1_500_000, 'π'.repeat(850))).toThrow('need about 4.2 GB of JavaScript heap');
  expect(() => ask(1_000_000, 'x'.repeat(850), 4)).toThrow('need about 4.4 GB of JavaScript heap');
  // 5,000,000 x (1,300 + 4 x 900) bytes.
  expect(() => ask(5_000_000, '')).toThrow(
    'need about 22.8 GB of memory, and the machine has 20.0 GB',
  );
});
