/** Values of a value model, from a real worker. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeModel } from '../../plugins/tasks/miniature/base-actor.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { WorkerModel } from '../../src/workers/worker-model.ts';

let workers: WorkerGroup;
let model: WorkerModel;

beforeAll(async () => {
  workers = await startWorkers({ workers: [{ name: 'critic', threads: 1 }] });
  const worker = workers.get('critic');
  const folder = join(mkdtempSync(join(tmpdir(), 'genac-values-')), 'blank');
  const { signal } = new AbortController();
  await makeModel('blank', folder, { worker, seed: 0, progress: () => {}, signal }, 8);
  model = await WorkerModel.load(worker, 'value', {
    ...{ source: folder, kind: 'value', initialization: 'pretrained', seed: 0, device: 'cpu' },
    ...{ dtype: 'float32', lora: null },
    optimizer: { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0 },
  });
}, 60_000);
afterAll(() => workers?.close());

const sequence = (...completion: number[]) => ({
  promptIds: Int32Array.of(3, 4, 5),
  completionIds: Int32Array.from(completion),
});

it('gives the value before each token and after the last one, and learns them', async () => {
  const target = 0.7;
  const seen = sequence(6, 7, 8);
  const stream = { kind: 'value', coefficient: 1, clip: null } as const;
  for (let step = 0; step < 80; step++) {
    const tensors = {
      returns: [[target, 0, 0]],
      old_values: [[0, 0, 0]],
    };
    await model.accumulate([seen], [[1, 0, 0]], [{ stream, tensors }], 1);
    await model.optimize(1e-2, 1);
  }
  const [whole, prompt, prefix] = await model.values([seen, sequence(), sequence(6, 7)]);
  expect([whole!.length, prompt!.length, prefix!.length]).toEqual([4, 1, 3]);
  // A value depends on what comes before it alone.
  expect(prompt![0]).toBeCloseTo(whole![0]!, 5);
  expect([...prefix!]).toEqual([...whole!.subarray(0, 3)].map((v) => expect.closeTo(v, 5)));
  expect(whole![0]).toBeCloseTo(target, 1);
  expect(Math.abs(whole![3]! - whole![0]!)).toBeGreaterThan(1e-4);
});
