/** The generative critic on a real worker: a small model that stage 1 taught to write scores. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eachReadable, Refusals } from '../../plugins/critics/generative/asking.ts';
import generative from '../../plugins/critics/generative.ts';
import { makeModel } from '../../plugins/tasks/miniature/base-actor.ts';
import miniature from '../../plugins/tasks/miniature.ts';
import { BridgeError } from '../../src/bridge/errors.ts';
import type { Worker } from '../../src/bridge/worker.ts';
import { createCritic } from '../../src/checked-critic.ts';
import type { Critic } from '../../src/critic.ts';
import { criticEnvironment } from '../../src/extensions/critic-environment.ts';
import { bareEnvironment } from '../../src/extensions/find-plugin.ts';
import type { Task } from '../../src/task.ts';
import type { State } from '../../src/types.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { criticConformance } from '../conformance/critic.ts';

let workers: WorkerGroup;
let task: Task;
let blank: string;
let taught: string;

async function make(
  model: string,
  changes: object = {},
  worker: Worker = workers.get('critic'),
): Promise<Critic> {
  const options = generative.options.parse({
    model,
    thinking: false,
    max_new_tokens: 6,
    completions_per_state: 2,
    baseline: 'leave-one-out',
    ...changes,
  });
  const environment = criticEnvironment({
    ...{ seed: 0, format: task.criticFormat!, runFolder: null, log: () => {} },
    ...{ signal: new AbortController().signal, worker: () => worker },
  });
  return createCritic(generative, options, environment);
}

beforeAll(async () => {
  workers = await startWorkers({ workers: [{ name: 'critic', threads: 1 }] });
  task = await miniature.create(miniature.options.parse({ actors: 4 }), bareEnvironment('.'));
  const folder = mkdtempSync(join(tmpdir(), 'genac-generative-'));
  blank = join(folder, 'blank');
  await makeModel(
    'blank',
    blank,
    {
      worker: workers.get('critic'),
      seed: 0,
      progress: () => {},
      signal: new AbortController().signal,
    },
    8,
  );
  const critic = await make(blank);
  for (let step = 0; step < 40; step++) {
    await critic.imitate!(task.oracleTraces!(0, step * 32, 32), {
      learningRate: 5e-3,
      maxGradNorm: 1,
    });
  }
  taught = join(folder, 'taught');
  await critic.save!(taught, false);
}, 120_000);
afterAll(() => workers?.close());

const problem = {
  id: 'p',
  prompt: '4 | a -2 | b -3 | c -3 | d -3 | e +6 | f *6 | g -6 | h +5 | >',
  columns: {},
};
criticConformance('generative', {
  make: () => make(taught),
  problems: [
    problem,
    { ...problem, id: 'q', prompt: (problem.prompt as string).replace('4', '5') },
  ],
  responses: ['', 'a 2', 'a 2 b 6'],
});

const stateOf = (i: number, successRate: number | null): State => ({
  id: `s${i}`,
  problem,
  response: '',
  index: 0,
  group: i,
  trajectory: null,
  tokens: null,
  actor: { name: 'a', parameters: 85_000, successRate },
});

describe('generative', () => {
  it('learns from outcomes what the value is', async () => {
    const critic = await make(taught, { completions_per_state: 4 });
    const states = Array.from({ length: 32 }, (_, i) => stateOf(i, 0.5));
    const mean = async () => {
      const valuations = await critic.value(states, { purpose: 'test', iteration: 0 });
      return valuations.reduce((sum, { value }) => sum + value, 0) / states.length;
    };
    const before = await mean();
    for (let i = 0; i < 25; i++) {
      const valuations = await critic.value(states, { purpose: 'learn', iteration: i });
      const outcomes = states.map((state, j) => ({
        state,
        valuation: valuations[j]!,
        rewards: [j % 10 === 0 ? 1 : 0],
      }));
      await critic.learn!(outcomes, { learningRate: 2e-3, maxGradNorm: 1 });
    }
    const after = await mean();
    expect(Math.abs(after - 0.125)).toBeLessThan(0.6 * Math.abs(before - 0.125));
  });

  it('averages what its completions say, and keeps each of them', async () => {
    const [valuation] = await (
      await make(taught, { completions_per_state: 6, read: 'sampled' })
    ).value([stateOf(0, 0.5)], {
      purpose: 'test',
      iteration: 1,
    });
    const scores = valuation!.completions
      .map(({ score }) => score)
      .filter((score) => score !== null);
    expect(valuation!.completions).toHaveLength(6);
    expect(valuation!.value).toBeCloseTo(
      scores.reduce((a, b) => a + b, 0) / scores.length / 10,
      12,
    );
  });

  it('says what stands in for a malformed answer: the option, the success rate, or 0.5', async () => {
    const value = async (changes: object, rate: number | null) => {
      const [valuation] = await (await make(blank, { max_new_tokens: 1, ...changes })).value(
        [stateOf(0, rate)],
        { purpose: 'test', iteration: 0 },
      );
      return [valuation!.parsed, valuation!.value];
    };
    expect(await value({ malformed_value: 0.3 }, 0.8)).toEqual(['malformed', 0.3]);
    expect(await value({}, 0.8)).toEqual(['malformed', 0.8]);
    expect(await value({}, null)).toEqual(['malformed', 0.5]);
  });

  it('values the other states where one prompt is too long, or can’t be read', async () => {
    const critic = await make(taught);
    const states = Array.from({ length: 4 }, (_, i) => stateOf(i, 0.4));
    const context = { purpose: 'test', iteration: 0 };
    const alone = await critic.value(states, context);
    const long = { ...states[1]!, response: 'a 1 '.repeat(300) };
    const [first, second, third, fourth] = await critic.value(
      [states[0]!, long, states[2]!, states[3]!],
      context,
    );
    expect(second).toEqual({
      ...{ value: 0.4, rationale: '', parsed: 'malformed', completions: [], skipped: 'too-long' },
    });
    expect([first, third, fourth]).toEqual([alone[0], alone[2], alone[3]]);
    // An update has nothing to learn from it.
    const told = await critic.learn!([{ state: long, valuation: second!, rewards: [1] }], {
      ...{ learningRate: 1e-3, maxGradNorm: null },
    });
    expect(told).toEqual({
      ...{
        loss: 0,
        tokens: 0,
        grad_norm: 0,
        update_norm: 0,
        learning_rate: 1e-3,
        skipped_steps: 1,
      },
    });

    const asked: number[] = [];
    const some = new Refusals();
    const answers = await eachReadable([1, 2, 3, 4, 5], some, async (part) => {
      asked.push(part.length);
      if (part.includes(4)) throw new BridgeError('bad_arguments', 'not 4');
      return part.map((n) => 10 * n);
    });
    expect(answers).toEqual([10, 20, 30, null, 50]);
    expect(asked).toEqual([5, 2, 3, 1, 2, 1, 1]);
    some.throwIfAll();
    const refuse = (code: 'bad_arguments' | 'worker_lost') => () =>
      Promise.reject(new BridgeError(code, 'no'));
    const all = new Refusals();
    expect(await eachReadable([1, 2], all, refuse('bad_arguments'))).toEqual([null, null]);
    expect(() => all.throwIfAll()).toThrow('no');
    await expect(eachReadable([1, 2], all, refuse('worker_lost'))).rejects.toThrow('no');
    expect(await eachReadable([], all, refuse('worker_lost'))).toEqual([]);
    // Another list was answered.
    await eachReadable([1], all, async () => [1]);
    all.throwIfAll();
  });

  it('is refused where its context has no room for a prompt', async () => {
    await expect(make(taught, { max_new_tokens: 256 })).rejects.toThrow(
      'critic.max_new_tokens: 256 leaves no room for a prompt in the critic',
    );
  });

  it('takes no step where all completions are worth the same', async () => {
    for (const baseline of ['leave-one-out', 'batch-mean'] as const) {
      const critic = await make(taught, { baseline });
      const completion = {
        promptIds: Int32Array.of(1),
        completionIds: Int32Array.of(2),
        text: '',
        score: 3,
      };
      const valuation = {
        ...{
          value: 0.3,
          rationale: '',
          parsed: 'ok' as const,
          completions: [completion, completion],
        },
      };
      const outcomes = [0, 1].map((i) => ({
        state: stateOf(i, 0.5),
        valuation,
        rewards: [0.1, 0.1, 0.1],
      }));
      const told = await critic.learn!(outcomes, { learningRate: 1e-3, maxGradNorm: 1 });
      expect(told).toMatchObject({ skipped_steps: 1 });
    }
  });

  it('draws for each state apart: states alike but for their names get other completions', async () => {
    const critic = await make(taught, { completions_per_state: 4 });
    const states = Array.from({ length: 8 }, (_, i) => stateOf(i, 0.5));
    const valuations = await critic.value(states, { purpose: 'test', iteration: 3 });
    const texts = valuations.map(({ completions }) =>
      completions.map(({ text }) => text).join('|'),
    );
    expect(new Set(texts).size).toBeGreaterThan(1);
  });

  it('says on the wire that its prompts and traces hold other people’s text', async () => {
    const critic = workers.get('critic');
    const asked: unknown[] = [];
    const recorded: Worker = {
      name: critic.name,
      ready: critic.ready,
      request(operation, args, options) {
        if ('literal' in args) asked.push([operation, args.literal]);
        return critic.request(operation, args, options);
      },
    };
    const recording = await make(taught, {}, recorded);
    await recording.value([stateOf(0, 0.5)], { purpose: 'test', iteration: 0 });
    const traces = task.oracleTraces!(0, 0, 1);
    await recording.imitate!(traces, { learningRate: 1e-3, maxGradNorm: 1 });
    await recording.rationaleLoss!(traces);
    expect(asked).toEqual([
      ['tokenize', true],
      ['sample', true],
      ['tokenize', true],
      ['tokenize', true],
    ]);
  });

  it('values a state alike, to the last digit, whatever else is asked', async () => {
    const critic = await make(taught);
    const states = Array.from({ length: 30 }, (_, i) => stateOf(i % 4, 0.1 * (i % 9)));
    const own = states.map((state, i) => ({ ...state, id: `t${i}.1`, trajectory: i }));
    const context = { purpose: 'test', iteration: 4 };
    const together = await critic.value(own, context);
    const apart: number[] = [];
    for (const some of [own.slice(0, 1), own.slice(1, 8), own.slice(8)])
      apart.push(...(await critic.value(some, context)).map(({ value }) => value));
    expect(apart).toEqual(together.map(({ value }) => value));
    expect(apart.some((value) => !Number.isInteger(10 * value))).toBe(true);
  });

  it('trains the very tokens that it sampled', async () => {
    const critic = await make(taught);
    const [valuation] = await critic.value([stateOf(0, 0.5)], { purpose: 'test', iteration: 2 });
    const { promptIds, completionIds, text } = valuation!.completions[0]!;
    // 47 words, one token each: the prompt's words, and the completion's, its end included.
    expect(promptIds).toHaveLength(
      'size 1 rate 5 0 | '.split(' ').length - 1 + (problem.prompt as string).split(' ').length + 1,
    );
    expect(completionIds).toHaveLength(text.split(' ').length);
  });
});
