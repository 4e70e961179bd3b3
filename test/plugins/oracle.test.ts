/** Exact values as the critic: those of the task, in a run and refused where there are none. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import oracle from '../../plugins/critics/oracle.ts';
import { createCritic } from '../../src/checked-critic.ts';
import type { Continuations } from '../../src/critic.ts';
import { startRun } from '../../src/run/run.ts';
import { readMetrics } from '../../src/run-folder/read.ts';
import { criticConformance } from '../conformance/critic.ts';
import { bareCriticEnvironment } from '../fixtures/critic-environment.ts';

const knows = (value: (response: string) => number): Continuations => ({
  sample: () => Promise.reject(new Error('it samples nothing')),
  exactValues: async (states) => states.map(({ response }) => value(response)),
});
const make = (actor: Continuations | null) =>
  createCritic(oracle, {}, bareCriticEnvironment({ actor }));

criticConformance('oracle', {
  make: () => make(knows((response) => response.length / 20)),
  problems: [{ id: 'p', prompt: 'say a word', columns: {} }],
  responses: ['', 'it is', 'it is good'],
});

it('is refused where there is no actor, or no exact value', async () => {
  await expect(make(null)).rejects.toThrow('there is no actor here that can');
  const actor = { ...knows(() => 1), exactValues: null };
  await expect(make(actor)).rejects.toThrow('needs a task that knows exact values');
});

it('has no error on the embedded task, whose values it is measured by', async () => {
  const folder = join(mkdtempSync(join(tmpdir(), 'genac-oracle-critic-')), 'run');
  const config = {
    ...{ folder, stages: ['joint' as const], task: 'miniature', critic: 'oracle' },
    actor: { model: 'task:blank', learning_rate: 1e-3 },
    sampling: { batch_size: 2, num_generations: 2, max_new_tokens: 20 },
    evaluation: { every: 1, prompts: 4, states: 16 },
    ...{ joint: { steps: 2 }, gates: { joint: null }, icc: { warm_rollouts: 0 } },
    workers: { actor: { threads: 1 } },
  };
  await startRun(config).finished;
  const evaluations = readMetrics(folder).filter(({ type }) => type === 'evaluation');
  expect(evaluations).toHaveLength(3);
  for (const line of evaluations) expect(line['critic/heldout_mse']).toBeLessThan(1e-9);
  const own = { ...config, folder: `${folder}-2`, task: './test/fixtures/chat-task.ts' };
  await expect(startRun(own).finished).rejects.toThrow(
    /critic: "oracle" needs exact values, but the task ".*" knows none/,
  );
  // As a part of another critic too, before a worker starts.
  const part = { use: 'ensemble', critics: ['oracle', 'group-mean'] };
  const sampled = { ...config, critic: part, sampling: { ...config.sampling, top_k: 3 } };
  await expect(startRun({ ...sampled, folder: `${folder}-3` }).finished).rejects.toThrow(
    /critic: "oracle" needs exact values, but sampling.top_p and sampling.top_k/,
  );
}, 60_000);
