/**
 * The value head: returns by hand, one pass for each response, on a model in memory and a worker.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lambdaReturns } from '../../plugins/critics/value-head/returns.ts';
import valueHead from '../../plugins/critics/value-head.ts';
import { makeModel } from '../../plugins/tasks/miniature/base-actor.ts';
import miniature from '../../plugins/tasks/miniature.ts';
import { assignCredit, segmentTrajectory } from '../../src/credit.ts';
import { type Critic, createCritic } from '../../src/critic.ts';
import { criticEnvironment } from '../../src/extensions/critic-environment.ts';
import { bareEnvironment } from '../../src/extensions/find-plugin.ts';
import { statesOfRollouts } from '../../src/iteration/rollout-states.ts';
import { mean, meanSquaredError, variance } from '../../src/math/statistics.ts';
import type { Task } from '../../src/task.ts';
import type { Valuation } from '../../src/types.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { criticConformance } from '../conformance/critic.ts';
import { memoryEnvironment } from '../fixtures/memory-model.ts';
import { rewardedTrajectory } from '../fixtures/trajectories.ts';

const actor = { name: 'a', parameters: 1, successRate: 0.5 };
const rule = { by: 'tokens', tokens: 2, max_segments: 9, min_tokens: 1, budget: null } as const;
const context = { purpose: 'test', iteration: 0 };
const valuation = (value: number): Valuation => ({
  ...{ value, rationale: '', parsed: 'ok', completions: [] },
});

async function inMemory(changes: object = {}) {
  const { environment, models } = memoryEnvironment();
  const options = valueHead.options.parse({ model: 'memory', ...changes });
  const critic = await createCritic(valueHead, options, environment);
  return { critic, model: models.get('critic')! };
}

criticConformance('value-head', {
  make: async () => (await inMemory()).critic,
  problems: [{ id: 'p', prompt: 'say a word', columns: {} }],
  responses: ['', 'it is', 'it is good'],
});

/** Two responses of a group, of three segments and of one. */
function batch(values: readonly number[], rewards: readonly number[]) {
  const texts = ['a b c d e f', 'g'];
  const segmented = texts.map((text, i) =>
    segmentTrajectory(rewardedTrajectory(0, text, rewards[i]!), i, rule, actor),
  );
  const ids = ['g0', 't0.1', 't0.2'];
  const valuations = new Map(ids.map((id, i) => [id, valuation(values[i]!)]));
  const options = { gamma: 1, lambda: 1, scale: 'none', fallback: 'off' } as const;
  return assignCredit(segmented, valuations, options).outcomes;
}

describe('returns', () => {
  it('are the rewards at lambda 1, and the next value at lambda 0', () => {
    const outcomes = batch([0.2, 0.4, 0.6], [1, 0]);
    expect([...lambdaReturns(outcomes, 1)]).toEqual([0.5, 1, 1]);
    // s_0: the mean of V(s_1) of the first response and of the second one's reward.
    expect([...lambdaReturns(outcomes, 0)].map((r) => expect.closeTo(r, 12))).toEqual([
      (0.4 + 0) / 2,
      0.6,
      1,
    ]);
  });

  it('mix them in between, computed by hand', () => {
    const outcomes = batch([0.2, 0.4, 0.6], [1, 0]);
    // G_2 = 1; G_1 = .5 x .6 + .5 x 1 = .8; G_0 = .5 x .4 + .5 x .8 = .6, and 0 of the second.
    const [first, second, third] = lambdaReturns(outcomes, 0.5);
    expect([first, second, third].map((r) => expect.closeTo(r!, 12))).toEqual([0.3, 0.8, 1]);
  });
});

it('reads each response once, and gives each state the value at its own last token', async () => {
  const { critic, model } = await inMemory();
  const texts = ['a b c d e f', 'g h i j'];
  const states = texts.flatMap((text, i) => {
    const trajectory = rewardedTrajectory(0, text, 1);
    return segmentTrajectory(trajectory, i, rule, actor).states;
  });
  let read = 0;
  const values = model.values.bind(model);
  model.values = async (sequences) => {
    read += sequences.length;
    return values(sequences);
  };
  // The model in memory has other ids than these: it is not asked whether they are its own.
  model.tokenize = async (prompts) =>
    prompts.map(() => ({ promptIds: Int32Array.of(1, 2), completionIds: new Int32Array() }));
  const unique = [...new Map(states.map((state) => [state.id, state])).values()];
  const outcomes = unique.map((state, i) => ({
    ...{ state, valuation: valuation(0.5), rewards: [i / 5] },
  }));
  for (let step = 0; step < 400; step++)
    await critic.learn!(outcomes, { learningRate: 0.2, maxGradNorm: null });
  const learned = await critic.value(unique, context);
  expect(unique).toHaveLength(4);
  expect(read).toBe(3); // the shared first state, and two responses
  learned.forEach(({ value }, i) => {
    expect(value).toBeCloseTo(i / 5, 1);
  });
});

it('refuses a model with another tokenizer than the actor’s', async () => {
  const { critic } = await inMemory();
  const { states } = segmentTrajectory(rewardedTrajectory(0, 'a b c', 1), 0, rule, actor);
  await expect(critic.value(states, context)).rejects.toThrow(
    "critic.model: its tokenizer reads a prompt otherwise than the actor's does",
  );
});

describe('on the embedded task', () => {
  let workers: WorkerGroup;
  let task: Task;
  let critic: Critic;

  beforeAll(async () => {
    workers = await startWorkers({ workers: [{ name: 'critic', threads: 1 }] });
    task = await miniature.create({ steps: 8, actors: 4, oracle: 'noisy' }, bareEnvironment('.'));
    const folder = join(mkdtempSync(join(tmpdir(), 'genac-value-head-')), 'blank');
    const { signal } = new AbortController();
    const worker = workers.get('critic');
    await makeModel('blank', folder, { worker, seed: 0, progress: () => {}, signal }, 8);
    const environment = criticEnvironment({
      ...{ seed: 0, format: task.criticFormat!, runFolder: null, log: () => {}, signal },
      worker: () => worker,
    });
    critic = await createCritic(valueHead, valueHead.options.parse({ model: folder }), environment);
  }, 60_000);
  afterAll(() => workers?.close());

  it('learns: its error on held-out states falls below that of the best constant', async () => {
    const references = task.referenceStates!(0, 128);
    const truth = references.map(({ value }) => value);
    const errorNow = async () => {
      const values = await critic.value(
        references.map(({ state }) => state),
        context,
      );
      return meanSquaredError(
        values.map(({ value }) => value),
        truth,
      );
    };
    const before = await errorNow();
    for (let step = 0; step < 60; step++) {
      const rollouts = task.frozenRollouts!('train', 0, step * 128, 128);
      const states = statesOfRollouts(rollouts, 0, 'test', step * 128);
      const outcomes = states.map(({ state, value }) => ({
        ...{ state, valuation: valuation(0.5), rewards: [value] },
      }));
      await critic.learn!(outcomes, { learningRate: 3e-3, maxGradNorm: 1 });
    }
    const after = await errorNow();
    console.log(before, after, variance(truth), mean(truth));
    expect(before).toBeGreaterThan(variance(truth));
    expect(after).toBeLessThan(0.8 * variance(truth));
  }, 120_000);
});
