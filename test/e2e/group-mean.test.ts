/** Runs whose baseline is made of outcomes: GRPO's group mean, and RLOO's mean of the others. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { startRun } from '../../src/run/run.ts';
import type { RunEvent } from '../../src/run-folder/events.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-group-mean-'));
let workers: WorkerGroup;
beforeAll(async () => {
  workers = await startWorkers({ workers: [{ name: 'actor', threads: 1 }] });
}, 120_000);
afterAll(() => workers?.close());

function small(name: string, changes: Partial<ConfigInput> = {}): ConfigInput {
  return {
    folder: join(scratch, name),
    stages: ['joint'],
    task: { use: 'miniature', actors: 4 },
    critic: 'group-mean',
    actor: { model: 'task:blank', learning_rate: 1e-3, epochs: 2, minibatches: 2 },
    sampling: { batch_size: 2, num_generations: 3, max_new_tokens: 20 },
    icc: { warm_rollouts: 4 },
    evaluation: { every: 0, prompts: 4, states: 8 },
    ...changes,
  };
}

async function run(input: ConfigInput): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  for await (const event of startRun(input, { workers, base: root })) events.push(event);
  return events;
}

describe('joint training', () => {
  it('leaves RLOO its baseline: no gate for a critic that values from outcomes', async () => {
    const events = await run(
      small('rloo', {
        critic: { use: 'group-mean', leave_one_out: true },
        credit: { scale: 'none' },
        joint: { steps: 4 },
        // Half of what it writes is even in length, and is paid.
        task: { use: join(root, 'test/fixtures/length-task.ts') },
      }),
    );
    const metrics = events.flatMap((e) => (e.type === 'iteration' ? [e.metrics] : []));
    expect(metrics.map((m) => m['gate/fallback'])).toEqual([0, 0, 0, 0]);
    // Negative by construction wherever rewards differ within a group.
    const explained = metrics.flatMap((m) => m['critic/explained_variance'] ?? []);
    expect(explained.some((e) => e < 0)).toBe(true);
  }, 120_000);

  it('trains with the group mean, with KL and entropy, and counts steps that had nothing to learn', async () => {
    const events = await run(
      small('group-mean', {
        critic: 'group-mean',
        credit: { scale: 'group-std' },
        joint: { steps: 2 },
        actor: { model: 'task:blank', learning_rate: 1e-3, kl: 0.1, entropy: 0.01 },
      }),
    );
    const metrics = events.flatMap((e) => (e.type === 'iteration' ? [e.metrics] : []));
    expect(metrics[0]!.kl).toBeCloseTo(0, 6);
    expect(metrics[1]!.kl).toBeGreaterThan(0);
    expect(metrics[0]!.entropy).toBeGreaterThan(0);
    const starved = await run(
      small('starved', {
        critic: 'group-mean',
        credit: {},
        joint: { steps: 1 },
        sampling: { batch_size: 1, num_generations: 2, max_new_tokens: 2 },
      }),
    );
    expect(starved.find((e) => e.type === 'iteration')?.metrics).toMatchObject({
      'actor/steps': 0,
      'actor/skipped_steps': 4,
      reward: 0,
    });
  }, 120_000);
});
