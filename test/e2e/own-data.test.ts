/**
 * A run on problems that Python makes and judges: it starts the worker `python` itself, and the
 * actor reads real text.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { startRun } from '../../src/run/run.ts';
import { readTrajectories } from '../../src/run-folder/read.ts';
import { findPython } from '../../src/workers/python.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-own-data-'));
afterAll(() => rmSync(scratch, { recursive: true }));

/** A small Llama that reads bytes, without a chat template. */
const makeModel = `
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
alphabet = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
backend = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained("model")
LlamaForCausalLM(LlamaConfig(vocab_size=len(alphabet), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
    max_position_embeddings=400, bos_token_id=None, eos_token_id=0)).save_pretrained("model")
`;

it('goes through, with the verifier’s rewards and the long prompts dropped', async () => {
  execFileSync(findPython(), ['-c', makeModel], { cwd: scratch });
  const folder = join(scratch, 'run');
  const events = startRun({
    folder,
    stages: ['joint'],
    task: {
      use: 'reasoning-gym',
      generators: [{ name: 'chain_sum', parameters: { max_terms: 3 } }, 'gsm_symbolic'],
      answer: 'response',
      format: 'chat',
    },
    critic: 'group-mean',
    actor: { model: join(scratch, 'model'), learning_rate: 1e-3 },
    sampling: {
      batch_size: 12,
      num_generations: 2,
      max_new_tokens: 6,
      max_prompt_tokens: 200,
      overlong_prompts: 'drop',
    },
    icc: { warm_rollouts: 0 },
    joint: { steps: 2 },
    evaluation: { every: 0, prompts: 12 },
  });
  const overlong: number[] = [];
  for await (const event of events)
    if (event.type === 'iteration') overlong.push(event.metrics['problems/overlong']!);
  expect(overlong).toHaveLength(2);
  for (const dropped of overlong) {
    expect(dropped).toBeGreaterThan(0);
    expect(dropped).toBeLessThan(12);
  }
  for (const { prompt, reward } of readTrajectories(folder)) {
    expect(prompt).toContain('user: State the final answer');
    expect(reward).toBeGreaterThanOrEqual(0);
  }
}, 120_000);
