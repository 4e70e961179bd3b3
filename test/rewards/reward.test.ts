/**
 * Reward functions of every kind: what they are combined to, what is refused, how they are batched.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/config/error.ts';
import { checkConfig } from '../../src/config/load.ts';
import { type ConfigInput, configSchema } from '../../src/config/schema.ts';
import { makeReward } from '../../src/rewards/reward.ts';
import { rewardMetrics } from '../../src/run-folder/iteration-record.ts';
import type { Response, Task } from '../../src/task.ts';
import type { Json, Prompt } from '../../src/types.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import {
  type PythonFunctions,
  pythonFunctions,
  pythonWorkerSpec,
} from '../../src/workers/python-functions.ts';

const root = new URL('../..', import.meta.url).pathname;
const base = join(root, 'test/fixtures/rewards');
const task: Task = { name: 'words', problems: () => [] };
const actor = { model: 'm' };
const nobody: PythonFunctions = { call: () => Promise.reject(new Error('no worker')) };

const configOf = (rewards: ConfigInput['rewards']) =>
  configSchema.parse({ folder: '-', task: '-', critic: '-', actor, rewards });

const respond = (
  text: string,
  columns: Record<string, Json> = {},
  prompt: Prompt = 'p',
): Response => ({
  text,
  problem: { id: `train-${text}`, prompt, columns },
  finishReason: 'stop_token',
  completionIds: Int32Array.of(1, 2),
});

const judging = (rewards: ConfigInput['rewards'], python = nobody, folder = base) =>
  makeReward(configOf(rewards), task, folder, python);

describe('the config’s rewards', () => {
  const minimal = {
    folder: '-',
    task: 'miniature',
    critic: { use: 'generative', model: 'm' },
    actor,
  };
  it.each([
    [[{ use: './a.ts', wieght: 2 }], 'rewards.0.wieght: no such option; did you mean "weight"?'],
    [[{ use: './a.ts', weight: 0 }], 'rewards.0.weight: 0: Too small'],
    [[{ use: './a.ts', rescale: [1, 0] }], 'rewards.0.rescale: [1,0]: the lowest value first'],
    [[{ use: './a.ts', name: 'a b' }], 'rewards.0.name: "a b": a name has no spaces'],
    [
      [{ use: './a.ts', column: 'solution' }],
      'rewards.0.column: is an option of "math-verify" alone',
    ],
    [[{ use: 'math-verify', conventions: ['boxd'] }], 'did you mean "boxed"?'],
  ])('%j is one clear error', (rewards, expected) => {
    expect(() => checkConfig({ ...minimal, rewards } as ConfigInput)).toThrow(expected);
  });

  it('have no effect without an actor, which is an error', () => {
    const stages = ['critic-sft' as const];
    expect(() =>
      checkConfig({ ...minimal, stages, actor: null, rewards: [{ use: 'math-verify' }] }),
    ).toThrow('rewards: has no effect, for there is no actor');
  });

  it.each([
    [[{ use: './nowhere.ts' }], /rewards\.0: there is no file .*nowhere\.ts/],
    [[{ use: './nowhere.py:f' }], /rewards\.0\.use: there is no file .*nowhere\.py/],
    [[{ use: './own.py' }], /name the function as well: \.\/own\.py:FUNCTION/],
    [[{ use: 'math-verfy' }], /is none of .*did you mean "math-verify"\?/],
    [[{ use: '../my-critic.ts' }], /there is no file/],
    [[{ use: '../not-a-plugin.ts' }], /no default export that is a function of a response/],
    [[{ use: './own.py:fail' }, { use: 'a.b:fail' }], /two are named "fail"/],
    [[], /the task "words" has no reward of its own: name at least one function/],
  ])('%j can be known to be wrong without a worker', async (rewards, expected) => {
    const failed = judging(rewards);
    await expect(failed).rejects.toThrow(expected);
    await expect(failed).rejects.toBeInstanceOf(ConfigError);
  });

  it('replace the task’s own reward, and leave it alone where there are none', async () => {
    const paid = { ...task, reward: () => 0.25 };
    const own = await makeReward(configOf([]), paid, base, nobody);
    expect(await own.rewardOf(respond('12345'))).toEqual({ reward: 0.25, parts: {} });
    const named = await makeReward(configOf([{ use: './length.ts' }]), paid, base, nobody);
    expect(await named.rewardOf(respond('12345'))).toEqual({ reward: 0.5, parts: { length: 0.5 } });
    expect([own.usesPython, named.usesPython]).toEqual([false, false]);
  });
});

describe('functions in TypeScript', () => {
  const both = [
    { use: './length.ts', weight: 3 },
    { use: './plain.ts', rescale: [-1, 1] as [number, number] },
  ];

  it('are combined to their weighted mean, each in its own range', async () => {
    const { rewardOf } = await judging(both);
    // (3 * 0.4 + 1 * (1 + 1) / 2) / 4
    expect(await rewardOf(respond('good'))).toEqual({
      reward: 0.55,
      parts: { length: 0.4, plain: 1 },
    });
    // (3 * 0.3 + 1 * (-1 + 1) / 2) / 4
    const bad = await rewardOf(respond('bad'));
    expect(bad.reward).toBeCloseTo(0.225, 12);
    expect(bad.parts.plain).toBe(-1);
  });

  it('that give null have no weight', async () => {
    const { rewardOf } = await judging(both);
    expect(await rewardOf(respond(''))).toEqual({ reward: 0, parts: { length: 0, plain: null } });
    const alone = await judging([both[1]!]);
    await expect(alone.rewardOf(respond(''))).rejects.toThrow(
      'no reward function applies to problem train- of task "words": "plain" returned null',
    );
  });

  it.each([
    [
      '1.5',
      '"strange" returned 1.5 for problem train-1.5 of task "words": a reward is a number in ' +
        '[0, 1]',
    ],
    ['-1', 'if the function has another range, name it: rewards.0.rescale: [LOW, HIGH]'],
    ['NaN', '"strange" returned NaN for problem train-NaN'],
    ['text', '"strange" returned "1" (string) for problem train-text'],
    ['throw', 'failed on problem train-throw: no such word'],
  ])('that go wrong (%s) are named, with problem and value', async (text, message) => {
    const { rewardOf } = await judging([{ use: './strange.ts' }]);
    await expect(rewardOf(respond(text))).rejects.toThrow(message);
  });

  it('that leave the range they were said to have are refused', async () => {
    const { rewardOf } = await judging([{ use: './strange.ts', rescale: [0, 2] }]);
    expect((await rewardOf(respond('2'))).reward).toBe(1);
    await expect(rewardOf(respond('3'))).rejects.toThrow(
      'returned 3 for problem train-3 of task "words": outside',
    );
  });

  it('that hang are given up at their deadline', async () => {
    const { rewardOf } = await judging([{ use: './hanging.ts', timeout: 0.05 }]);
    await expect(rewardOf(respond('a'))).rejects.toThrow(
      /"hanging" \(.*hanging\.ts\) had no answer for problem train-a after 0.05 s: make it faster, or raise rewards\.0\.timeout/,
    );
  });
});

/** Answers for a response by its text alone, and keeps what was asked together. */
function recorded(scheduler?: fc.Scheduler) {
  const calls: Json[][] = [];
  const python: PythonFunctions = {
    async call(_, keywords) {
      const { completions, columns } = keywords as {
        completions: string[];
        columns: { k?: number[] };
      };
      calls.push(completions);
      const answers = completions.map((text, i) => (text.length / 100 + (columns.k?.[i] ?? 0)) / 2);
      return scheduler ? await scheduler.schedule(Promise.resolve(answers)) : answers;
    },
  };
  return { calls, python };
}

describe('functions in Python, batched', () => {
  const rewards = [
    { use: './own.py:hang', name: 'a' },
    { use: './own.py:fail', name: 'b', weight: 2 },
  ];

  it('give every response its own number, however they are asked and answered', async () => {
    const response = fc.record({
      length: fc.nat(100),
      k: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(response, { maxLength: 150 }),
        async (scheduler, asked) => {
          const { rewardOf } = await judging(rewards, recorded(scheduler).python);
          const judged = asked.map(async ({ length, k }) => {
            await scheduler.schedule(Promise.resolve());
            return (await rewardOf(respond('x'.repeat(length), k === undefined ? {} : { k })))
              .reward;
          });
          const all = Promise.all(judged);
          await scheduler.waitFor(all);
          const alone = asked.map(({ length, k }) => (length / 100 + (k ?? 0)) / 2);
          expect(await all).toEqual(alone.map((value) => (value + 2 * value) / 3));
        },
      ),
      { numRuns: 40 },
    );
  });

  it('are called once for a turn, at most 64 at a time, and never with other columns', async () => {
    const { calls, python } = recorded();
    const { rewardOf } = await judging([rewards[0]!], python);
    const texts = Array.from({ length: 70 }, (_, i) => 'x'.repeat(i));
    await Promise.all(texts.map((text, i) => rewardOf(respond(text, i % 2 === 0 ? {} : { k: 0 }))));
    expect(calls.map((call) => call.length)).toEqual([35, 35]);
    await Promise.all(texts.map((text) => rewardOf(respond(text))));
    expect(calls.slice(2).map((call) => call.length)).toEqual([64, 6]);
  });
});

describe('in a real worker', () => {
  let workers: WorkerGroup;
  let python: PythonFunctions;
  beforeAll(async () => {
    workers = await startWorkers({ workers: [pythonWorkerSpec] });
    python = pythonFunctions(() => workers.get('python'));
  });
  afterAll(() => workers?.close());

  it('examples/rewards.py is combined with TypeScript; the functions are found when the workers run', async () => {
    const { rewardOf, prepare, usesPython } = await judging(
      [
        { use: '../../../examples/rewards.py:short' },
        { use: '../../../examples/rewards.py:closeness', rescale: [-1, 1], weight: 2 },
        { use: './length.ts' },
      ],
      python,
    );
    expect(usesPython).toBe(true);
    await prepare();
    // short 20 / 25, closeness 1 - |4 - 5| = 0 of [-1, 1]
    expect(await rewardOf(respond('it 4.', { answer: 5 }))).toEqual({
      reward: (0.8 + 2 * 0.5 + 0.5) / 4,
      parts: { short: 0.8, closeness: 0, length: 0.5 },
    });
    const chat = [{ role: 'user' as const, content: 'p' }];
    const { parts } = await rewardOf(respond('it 4.', { answer: 'four' }, chat));
    expect(parts).toEqual({ short: 0.8, closeness: null, length: 0.5 });
  });

  it('a function sees what TRL would show it', async () => {
    const { rewardOf } = await judging([{ use: './own.py:seen' }], python);
    const chat = [{ role: 'user' as const, content: 'q' }];
    await Promise.all([
      rewardOf(respond('a', { answer: 1, solution: ['x'] })),
      rewardOf(respond('b', { answer: 2, solution: [] }, chat)),
    ]);
    const line = readFileSync(join(workers.logDirectory, 'python.log'), 'utf8').split('\n').at(-2)!;
    expect(JSON.parse(line)).toEqual([
      ['p', chat],
      ['a', [{ role: 'assistant', content: 'b' }]],
      [
        [1, 2],
        [1, 2],
      ],
      { answer: [1, 2], solution: [['x'], []] },
    ]);
  });

  it('what is asked while a call runs goes into the next one', async () => {
    const { rewardOf } = await judging([{ use: './own.py:sizes' }], python);
    const first = rewardOf(respond('a'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const rest = await Promise.all(['b', 'c', 'd'].map((text) => rewardOf(respond(text))));
    expect((await first).reward).toBe(0.01);
    expect(rest.map(({ reward }) => reward)).toEqual([0.03, 0.03, 0.03]);
  });

  it('math-verify compares answers as mathematics, by the conventions of its data', async () => {
    const { rewardOf, prepare } = await judging([{ use: 'math-verify' }], python);
    await prepare();
    const reward = async (text: string, answer: Json) =>
      (await rewardOf(respond(text, { answer }))).reward;
    expect(
      await Promise.all([
        reward('so \\boxed{\\frac{1}{2}}', '0.5'),
        reward('#### 1,000', 'They are 10 * 100.\n#### 1000'),
        reward('it is 42', 42),
        reward('\\boxed{x + 1}', '$1 + x$'),
        reward('\\boxed{43}', '42'),
        reward('no idea', '42'),
      ]),
    ).toEqual([1, 1, 1, 1, 0, 0]);
    await expect(rewardOf(respond('1', { solution: '1' }))).rejects.toThrow(
      'rewards.0.column: problem train-1 has no column "answer" (it has solution)',
    );
    await expect(reward('1', [1])).rejects.toThrow(/"math-verify".*neither text nor a number/);
  });

  it.each([
    [
      'fail',
      /"fail" \(\.\/own\.py:fail\) failed on problem train-a: .*KeyError: 'gone'\n.*Traceback.*in fail/s,
    ],
    ['nan', /"nan" returned nan for problem train-a of task "words"/],
    ['narrow', /"narrow" .* does not take prompts, completion_ids, .*add \*\*kwargs/],
  ])('a function that goes wrong (%s) is named', async (name, message) => {
    const { rewardOf } = await judging([{ use: `./own.py:${name}` }], python);
    await expect(rewardOf(respond('a'))).rejects.toThrow(message);
  });

  it('a function that is not there, or does not take TRL’s keywords, is told of before anything is judged', async () => {
    const prepared = async (use: string) => (await judging([{ use }], python)).prepare();
    await expect(prepared('./own.py:nothing')).rejects.toThrow(/own\.py has no 'nothing'/);
    await expect(prepared('./own.py:narrow')).rejects.toThrow(
      /does not take prompts, completion_ids/,
    );
    await expect(prepared('no.such:function')).rejects.toThrow(/there is no module 'no'/);
  });

  it('a function that hangs is given up, with all that waits for it; its process does not survive the workers', async () => {
    const file = join(workers.logDirectory, 'hanging.pid');
    const own = await startWorkers({
      workers: [{ ...pythonWorkerSpec, env: { GENAC_TEST_PID_FILE: file } }],
    });
    const functions = pythonFunctions(() => own.get('python'));
    const { rewardOf } = await judging([{ use: './own.py:hang', timeout: 1 }], functions);
    const first = rewardOf(respond('a'));
    const later = new Promise((resolve) => setTimeout(resolve, 300)).then(() =>
      rewardOf(respond('b')),
    );
    const message =
      /"hang" \(\.\/own\.py:hang\) had no answer after 1 s, on problem train-a: make it faster/;
    await Promise.all([
      expect(first).rejects.toThrow(message),
      expect(later).rejects.toThrow(message),
    ]);
    const pid = Number(readFileSync(file, 'utf8'));
    expect(() => process.kill(pid, 0)).not.toThrow();
    await own.close(100);
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });
});

describe('metrics', () => {
  it('are mean and sample deviation over the responses where a function applied', () => {
    const parts = [{ a: 0.5, b: null }, { a: 1, b: 2 }, { a: 0, b: null }, {}];
    expect(rewardMetrics(parts.map((rewardParts) => ({ rewardParts })))).toEqual({
      'rewards/a/mean': 0.5,
      'rewards/a/std': 0.5,
      'rewards/b/mean': 2,
    });
    expect(rewardMetrics([{}, { rewardParts: { a: null } }])).toEqual({});
  });
});
