/**
 * Prompts that don't fit, and chats for a model without a chat template: in whole runs of a real,
 * small model.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { vocabulary, writeModelFolder } from '../../plugins/tasks/chains/model-folder.ts';
import { miniatureSize } from '../../plugins/tasks/miniature/base-actor.ts';
import { registerMachine } from '../../plugins/tasks/miniature/chains.ts';
import { type ConfigInput, configSchema } from '../../src/config/schema.ts';
import { promptLimit } from '../../src/iteration/prompt-limit.ts';
import { startRun } from '../../src/run/run.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { WorkerModel } from '../../src/workers/worker-model.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-fitting-'));
const source = join(scratch, 'model');
let workers: WorkerGroup;

beforeAll(async () => {
  workers = await startWorkers({ workers: [{ name: 'actor', threads: 1 }], log: () => {} });
  await writeModelFolder(source, miniatureSize, vocabulary(registerMachine, 8));
  const model = await WorkerModel.load(workers.get('actor'), 'actor', {
    source,
    kind: 'causal',
    initialization: 'random',
    seed: 0,
    device: 'cpu',
    dtype: 'float32',
    lora: null,
    optimizer: null,
  });
  await model.save(source, false);
}, 120_000);
afterAll(async () => {
  await workers?.close();
  rmSync(scratch, { recursive: true });
});

let runs = 0;
/** Two joint iterations of 5 problems, whose prompts have 1 to 5 messages. */
async function run(sampling: ConfigInput['sampling']) {
  const config: ConfigInput = {
    folder: join(scratch, `${runs++}`),
    stages: ['joint'],
    task: join(import.meta.dirname, '../fixtures/chat-task.ts'),
    critic: 'group-mean',
    actor: { model: source, learning_rate: 1e-4 },
    sampling: { batch_size: 5, num_generations: 2, max_new_tokens: 4, ...sampling },
    icc: { warm_rollouts: 0 },
    joint: { steps: 2 },
    evaluation: { prompts: 5 },
  };
  const messages: string[] = [];
  const overlong: (number | undefined)[] = [];
  for await (const event of startRun(config, { workers })) {
    if (event.type === 'message') messages.push(event.text);
    if (event.type === 'iteration') overlong.push(event.metrics['problems/overlong']);
  }
  return { messages, overlong };
}

// "user: 1 2 3 4" is 5 words, and "assistant:" one more: n messages make 5 n + 1 tokens.
describe('prompts that don’t fit', () => {
  it('are an error that names them and what to do', async () => {
    await expect(run({ max_prompt_tokens: 16 })).rejects.toThrow(
      '2 of 5 prompts (heldout, number 0 on) have more than 16 tokens (sampling.max_prompt_tokens): problem heldout-3 with 21 tokens, ' +
        'problem heldout-4 with 26 tokens. Shorten them, make room, or set ' +
        'sampling.overlong_prompts: drop to go on without them',
    );
    await expect(run({ max_new_tokens: 240 })).rejects.toThrow(
      "have more than 16 tokens (the actor's context of 256 less sampling.max_new_tokens, 240)",
    );
  });

  it('are dropped and counted, and the others go on', async () => {
    const { messages, overlong } = await run({ max_prompt_tokens: 16, overlong_prompts: 'drop' });
    expect(overlong).toEqual([2, 2]);
    expect(messages.filter((text) => text.includes('too long'))).toEqual([
      'evaluation/0: dropped 2 of 5 problems, whose prompts are too long',
      'evaluation/2: dropped 2 of 5 problems, whose prompts are too long',
    ]);
  });

  it('are an error where none is left', async () => {
    await expect(run({ max_prompt_tokens: 5, overlong_prompts: 'drop' })).rejects.toThrow(
      '5 of 5 prompts (heldout, number 0 on) have more than 5 tokens',
    );
  });

  it('do not exist where all fit: nothing is dropped, and nothing said', async () => {
    const { messages, overlong } = await run({ overlong_prompts: 'drop' });
    expect(overlong).toEqual([0, 0]);
    expect(messages.filter((text) => text.includes('too long'))).toEqual([]);
    expect((await run({})).overlong).toEqual([undefined, undefined]);
  });
});

it('chats for a model without a chat template are plain text, said once', async () => {
  const { messages } = await run({});
  expect(messages.filter((text) => text.includes('chat template'))).toEqual([
    `actor: ${source} has no chat template; it is given chats as plain text, "role: ` +
      'content", and "assistant:" at the end',
  ]);
});

describe('the limit of a prompt', () => {
  const limit = (sampling: object, context: number | null) =>
    promptLimit(configSchema.shape.sampling.parse(sampling), context)?.tokens ?? null;

  it.each<[object, number | null, number | null]>([
    [{ max_new_tokens: 100 }, 256, 156],
    [{ max_new_tokens: 255 }, 256, 1],
    [{ max_new_tokens: 100, max_prompt_tokens: 50 }, 256, 50],
    [{ max_new_tokens: 100, max_prompt_tokens: 156 }, 256, 156],
    [{ max_new_tokens: 100, max_prompt_tokens: 5000 }, null, 5000],
    [{ max_new_tokens: 100 }, null, null],
  ])('with %j and a context of %j is %j', (sampling, context, expected) => {
    expect(limit(sampling, context)).toBe(expected);
  });

  it('needs room in the context', () => {
    expect(() => limit({ max_new_tokens: 256 }, 256)).toThrow(
      "sampling.max_new_tokens (256) leaves no room in the actor's context of 256 tokens: lower it",
    );
    expect(() => limit({ max_new_tokens: 100, max_prompt_tokens: 157 }, 256)).toThrow(
      'sampling.max_prompt_tokens (157) and sampling.max_new_tokens (100) leave no room in ' +
        "the actor's context of 256",
    );
  });
});
