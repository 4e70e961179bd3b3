/**
 * `genac reproduce --config FILE` of another task than the miniature: the config's own actor and
 * critic with adapters, values against continuations, and a further task that table 3 shifts to.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { reproduce } from '../../src/reproduction/reproduce.ts';
import type { Block } from '../../src/reproduction/table.ts';
import { findPython } from '../../src/workers/python.ts';
import { type MockServer, startServer } from '../api/server.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-given-'));
let server: MockServer;
afterAll(async () => {
  await server?.close();
  rmSync(scratch, { recursive: true });
});

/** A small Llama without a chat template, whose tokens are pieces of English. */
const makeModel = `
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
set_seed(0)
backend = Tokenizer(models.BPE())
backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
backend.train([sys.argv[1]], trainer)
PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained("model")
LlamaForCausalLM(LlamaConfig(vocab_size=backend.get_vocab_size(), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
    max_position_embeddings=1000, bos_token_id=None, eos_token_id=0)).save_pretrained("model")
`;

const model = join(scratch, 'model');
const lora = { rank: 2, alpha: 4, dropout: 0, target_modules: null };
const config = {
  folder: 'none',
  task: { use: 'jsonl', file: 'data.jsonl', heldout: { share: 0.5 } },
  rewards: [{ use: './reward.ts' }],
  actor: { model, name: 'pieces', learning_rate: 0.05, lora },
  critic: {
    ...{ use: 'generative', model, lora, max_new_tokens: 8 },
    ...{ completions_per_state: 1, baseline: 'batch-mean' },
  },
  // Models as small as these are slower with more threads, most of all beside other tests.
  workers: { actor: { threads: 1 }, critic: { threads: 1 }, python: { threads: 1 } },
  sampling: { batch_size: 4, num_generations: 4, max_new_tokens: 6 },
  credit: { lambda: 0.9, segmentation: { by: 'tokens', tokens: 2, max_segments: 3 } },
  critic_sft: { traces: join(scratch, 'traces.jsonl') },
};
const lines = (count: number, line: (i: number) => object) =>
  Array.from({ length: count }, (_, i) => `${JSON.stringify(line(i))}\n`).join('');

beforeAll(async () => {
  server = await startServer();
  const write = (name: string, text: string) => writeFileSync(join(scratch, name), text);
  write('config.yaml', JSON.stringify(config));
  write('other.yaml', JSON.stringify({ task: { ...config.task, template: 'Again: {prompt}' } }));
  write('reward.ts', 'export default ({ text }) => text.length % 2;\n');
  write(
    'data.jsonl',
    lines(40, (i) => ({ prompt: `Say ${i}.` })),
  );
  const actor = { name: 'other', parameters: 1000, success_rate: 0.5 };
  const traced = (i: number) => ({
    ...{ prompt: `Say ${i}.`, partial_response: 'so '.repeat(i % 3), rationale: 'It is.', actor },
    ...{ score: 5, observed_outcome: i % 2 },
  });
  write('traces.jsonl', lines(40, traced));
  execFileSync(findPython(), ['-c', makeModel, join(process.cwd(), 'README.md')], { cwd: scratch });
}, 120_000);

it('makes nothing where stage 1 has no traces', async () => {
  const { critic_sft, ...rest } = config;
  const file = join(scratch, 'without-traces.yaml');
  writeFileSync(file, JSON.stringify(rest));
  const folder = join(scratch, 'without-traces');
  const said: string[] = [];
  const log = (text: string) => void said.push(text);
  await expect(reproduce({ folder, config: file, size: 'tiny', tables: [3], log })).rejects.toThrow(
    'critic_sft.traces: the task "jsonl" has no oracle of its own',
  );
  expect(said.filter((text) => / parts/.test(text))).toEqual([]);
});

const rowsOf = (block: Block) => block.rows.map(({ name }) => name);

it('makes tables 2 to 6', async () => {
  const folder = join(scratch, 'reproduction');
  const { tables, missing } = await reproduce({
    ...{ folder, size: 'tiny', config: join(scratch, 'config.yaml') },
    shifts: { other: join(scratch, 'other.yaml') },
    // A server that says 8 of every state.
    largeModel: { use: 'api', model: 'large', base_url: server.url, api_key_env: null },
  });
  expect(tables.map(({ number }) => number)).toEqual([2, 3, 4, 5, 6]);
  const [, shift, rl, cost, icc] = tables.map(({ blocks }) => blocks[0]!);
  expect(shift!.columns).toEqual([
    ...['none', 'mild-temperature', 'moderate-actor', 'severe-actor', 'other'],
  ]);
  // Nothing here is exact, and the trained actors are others than the config's.
  for (const block of [shift!, rl!, icc!])
    expect(rowsOf(block).filter((name) => /oracle|exact|state class/.test(name))).toEqual([]);
  const constant = shift!.rows.find(({ name }) => name === '(constant)')!.cells;
  expect(constant[2]!.value).not.toBe(constant[0]!.value);
  expect(rl!.columns).toEqual(['jsonl', 'mean']);
  expect(rowsOf(icc!)[0]).toBe('zero-shot with ICC');
  const large = tables.at(-1)!.blocks[1]!;
  expect(rowsOf(large).slice(0, 3)).toEqual([
    ...['large-model with ICC', 'large-model without ICC', 'sft with ICC'],
  ]);
  // With In-Context Conditioning the critic's prompt names the actor; without, it does not.
  const asked = server.received.map(({ body }) => JSON.stringify(body.messages));
  const told = asked.filter((messages) => messages.includes('pieces'));
  expect(told.length).toBeGreaterThan(0);
  expect(told.length).toBeLessThan(asked.length);
  expect(rowsOf(cost!)).not.toContain('the same, thoughts carried on');
  for (const { cells } of [...rl!.rows, ...cost!.rows]) expect(cells).not.toContain(null);

  expect(missing.join(' ')).toMatch(/Table 1, .*: it is of the miniature alone/);
  const page = readFileSync(join(folder, 'results.md'), 'utf8');
  expect(page).toContain('against means of 2 continuations of each state');
  expect(page).not.toContain('Most likely');
}, 600_000);
