/** A run in a terminal, and Ctrl-C. Real processes. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readCheckpoint } from '../../src/run-folder/checkpoint.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-interrupted-'));

it('ends with a checkpoint on Ctrl-C, and leaves no process behind', async () => {
  const config = join(scratch, 'interrupt.yaml');
  const task = join(root, 'test/fixtures/length-task.ts');
  writeFileSync(
    config,
    JSON.stringify({
      ...{ folder: join(scratch, 'interrupted'), stages: ['joint'], task, critic: 'group-mean' },
      actor: { model: 'task:blank', learning_rate: 1e-3 },
      sampling: { batch_size: 2, num_generations: 3, max_new_tokens: 20 },
      joint: { steps: 5000 },
      evaluation: { every: 0, prompts: 4, states: 8 },
      workers: { actor: { threads: 1 }, critic: { threads: 1 } },
    }),
  );
  const child = spawn(process.execPath, [join(root, 'src/cli/genac.mjs'), 'train', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr.on('data', (data: Buffer) => {
    text += data;
  });
  const metrics = join(scratch, 'interrupted', 'metrics.jsonl');
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  while (
    !(existsSync(metrics) && readFileSync(metrics, 'utf8').includes('"iteration":1,')) &&
    child.exitCode === null
  ) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  child.kill('SIGINT');
  expect(await ended).toBe(130);
  expect(text).toContain('ending after this iteration, with a checkpoint');
  expect(text).toContain('stopped; the last checkpoint is whole');
  const [name] = readdirSync(join(scratch, 'interrupted', 'checkpoints'));
  expect(await readCheckpoint(join(scratch, 'interrupted', 'checkpoints', name!))).toMatchObject({
    complete: false,
  });
}, 60_000);
