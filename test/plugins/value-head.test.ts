/**
 * The value head: returns by hand, one pass for each response, on a model in memory and a worker.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readInstead } from '../../plugins/critics/value-head/positions.ts';
import { lambdaReturns } from '../../plugins/critics/value-head/returns.ts';
import valueHead from '../../plugins/critics/value-head.ts';
import { makeModel } from '../../plugins/tasks/miniature/base-actor.ts';
import { createCritic } from '../../src/checked-critic.ts';
import { assignCredit, segmentTrajectory } from '../../src/credit.ts';
import type { Critic } from '../../src/critic.ts';
import { criticEnvironment } from '../../src/extensions/critic-environment.ts';
import { allStatesOfRollouts } from '../../src/iteration/rollout-states.ts';
import { deriveSeed, Random } from '../../src/math/random.ts';
import { meanSquaredError, variance } from '../../src/math/statistics.ts';
import { textState } from '../../src/state.ts';
import { paperFormat } from '../../src/text/critic-prompt.ts';
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

describe('positions', () => {
  const trajectory = (index: number, count: number, group = 0) =>
    Array.from({ length: count - 1 }, (_, k) => ({
      ...textState({
        id: `t${index}.${k + 1}`,
        problem,
        response: 'x',
        group,
        actor,
        index: k + 1,
      }),
      trajectory: index,
    }));
  const problem = { id: 'p', prompt: 'x', columns: {} };
  const first = (group: number) =>
    textState({ id: `g${group}`, problem, response: '', group, actor });

  it('are read at shares of a response, and stand for the states behind them', () => {
    // Of 11 states, .3 .6 .9 are numbers 3, 6 and 9; of 3 states numbers 1, 1 and 2.
    const states = [
      first(0),
      ...trajectory(0, 11),
      ...trajectory(1, 3),
      first(1),
      ...trajectory(2, 2, 1),
    ];
    const instead = readInstead(states, [0.3, 0.6, 0.9]);
    const named = instead.map((i) => states[i]!.id);
    const long = ['g0', 'g0', 'g0', 't0.3', 't0.3', 't0.3', 't0.6', 't0.6', 't0.6', 't0.9', 't0.9'];
    expect(named).toEqual([...long, 't1.1', 't1.2', 'g1', 't2.1']);
    expect(readInstead(states, null)).toEqual([...states.keys()]);
  });

  it('are all that is trained', async () => {
    const { critic } = await inMemory({ positions: [0.5] });
    const { critic: dense } = await inMemory();
    const outcomes = batch([0.2, 0.4, 0.6], [1, 0]).map((outcome) => ({
      ...outcome,
      state: { ...outcome.state, tokens: null },
    }));
    const update = { learningRate: 0.1, maxGradNorm: null };
    // s_1 of three states is trained, s_2 is not.
    expect((await critic.learn!(outcomes, update)).mean_return).toBeCloseTo((0.5 + 1) / 2, 12);
    expect((await dense.learn!(outcomes, update)).mean_return).toBeCloseTo((0.5 + 1 + 1) / 3, 12);
    const states = outcomes.map(({ state }) => state);
    const values = (await critic.value(states, context)).map(({ value }) => value);
    expect(values[2]).toBe(values[1]);
    expect(values[0]).not.toBe(values[1]);
  });

  it('and lambda act on the responses of stage 2, each by itself', async () => {
    const prefixes = ['', 'a', 'a b', 'a b c'];
    const rollouts = [1, 0].map((reward, i) => ({
      ...{ problem: { ...problem, id: `p${i}` }, actor, prefixes, firstUnedited: 0, reward },
      response: 'a b c d',
    }));
    const outcomes = allStatesOfRollouts(rollouts, 'critic-rl', 0).map(({ state, value }, i) => ({
      ...{ state, rewards: [value], valuation: valuation([0.1, 0.2, 0.3, 0.4][i % 4]!) },
    }));
    const states = outcomes.map(({ state }) => state);
    expect(readInstead(states, [0.5])).toEqual([0, 0, 2, 2, 4, 4, 6, 6]);
    expect([...lambdaReturns(outcomes, 0)]).toEqual([0.2, 0.3, 0.4, 1, 0.2, 0.3, 0.4, 0]);
  });
});

it('reads each response once, and gives each state the value at its own last token', async () => {
  const { critic, model } = await inMemory();
  const texts = ['a b c d e f', 'g'];
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
  expect(unique).toHaveLength(3);
  expect(read).toBe(2); // the shared first state, and the response that has more
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

describe('on a real worker', () => {
  let workers: WorkerGroup;
  let make: (options: object) => Promise<Critic>;

  beforeAll(async () => {
    workers = await startWorkers({ workers: [{ name: 'critic', threads: 1 }] });
    const folder = join(mkdtempSync(join(tmpdir(), 'genac-value-head-')), 'blank');
    const { signal } = new AbortController();
    const worker = workers.get('critic');
    await makeModel('blank', folder, { worker, seed: 0, progress: () => {}, signal }, 8);
    const environment = criticEnvironment({
      ...{ seed: 0, format: paperFormat, runFolder: null, log: () => {}, signal },
      worker: () => worker,
    });
    make = (options) =>
      createCritic(valueHead, valueHead.options.parse({ model: folder, ...options }), environment);
  }, 60_000);
  afterAll(() => workers?.close());

  /** A response that fails where its last digit is above 4. The prompts are never the same. */
  const states = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const random = new Random(deriveSeed(0, 'states', from + i));
      const digits = Array.from({ length: 4 }, () => random.integer(10));
      const prompt = `${digits[0]} | a +${digits[1]} | b -${digits[2]} | >`;
      const problem = { id: `p${from + i}`, prompt, columns: {} };
      const response = `a ${digits[3]}`;
      const state = textState({ id: `s${from + i}`, problem, response, group: i, actor });
      return { state, chance: digits[3]! > 4 ? 0.1 : 0.9, reward: random.uniform() };
    });

  it.each([{}, { bounded: true }, { categorical: 21 }])(
    'learns chances from outcomes (%j): its error on unseen states falls below the constant’s',
    async (options) => {
      const critic = await make(options);
      const heldOut = states(1e6, 64);
      const truth = heldOut.map(({ chance }) => chance);
      const errorNow = async () => {
        const values = await critic.value(
          heldOut.map(({ state }) => state),
          context,
        );
        return meanSquaredError(
          values.map(({ value }) => value),
          truth,
        );
      };
      if (!('bounded' in options || 'categorical' in options))
        expect(await errorNow()).toBeGreaterThan(variance(truth));
      for (let step = 0; step < 60; step++) {
        const outcomes = states(64 * step, 64).map(({ state, chance, reward }) => ({
          ...{ state, valuation: valuation(0.5), rewards: [reward < chance ? 1 : 0] },
        }));
        await critic.learn!(outcomes, { learningRate: 3e-3, maxGradNorm: 1 });
      }
      expect(await errorNow()).toBeLessThan(0.25 * variance(truth));
    },
    120_000,
  );
});
