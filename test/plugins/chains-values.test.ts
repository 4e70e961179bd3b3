/** Exact values of the miniature: by hand, against enumeration, and of a real actor. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { chainValues } from '../../plugins/tasks/chains/exact-values.ts';
import { exactValue, syntheticTable } from '../../plugins/tasks/miniature/actors.ts';
import { makeModel } from '../../plugins/tasks/miniature/base-actor.ts';
import {
  apply,
  type Chain,
  chainOf,
  chainProblem,
  claimsText,
  drawChain,
  OPERATIONS,
  parseChain,
  registerMachine,
  registers,
} from '../../plugins/tasks/miniature/chains.ts';
import miniature from '../../plugins/tasks/miniature.ts';
import { continueStates } from '../../src/iteration/continuations.ts';
import { noExactValues, exactValuesOf as valuesOfTask } from '../../src/iteration/exact-values.ts';
import { deriveSeed, Random } from '../../src/math/random.ts';
import { textState } from '../../src/state.ts';
import type { ActorProbe, Task } from '../../src/task.ts';
import { startWorkers } from '../../src/workers/local.ts';
import { WorkerModel } from '../../src/workers/worker-model.ts';

const exactValues = chainValues(registerMachine, chainOf);
const random = (seed: number) => new Random(deriveSeed(seed, 'test'));
const stateOf = (chain: Chain, response: string) =>
  textState({
    ...{ id: 's', problem: chainProblem(chain, 'p'), response, index: 0, group: 0 },
    actor: { name: 'actor', parameters: 1, successRate: null },
  });

/** Probability of `next` after these claims. */
type Step = (chain: Chain, claims: readonly number[], next: number) => number;

/** An actor that writes each label with probability .99, and the end with .98. */
function actor(step: Step, maxNewTokens = 100) {
  const asked: string[] = [];
  const probe: ActorProbe = {
    maxNewTokens,
    choices: async (prompts, beginnings, answers, ends) =>
      prompts.map((prompt, i) => {
        asked.push(beginnings[i]!);
        const chain = parseChain(prompt as string)!;
        const words = beginnings[i]!.split(' ').filter((word) => word !== '');
        const claims = words.filter((_, w) => w % 2).map(Number);
        const p = (answer: string) => {
          if (answer === '.') return ends ? 0.98 : 1;
          return /\d/.test(answer) ? step(chain, claims, Number(answer)) : 0.99;
        };
        return Float32Array.from(answers, (answer) => Math.log(p(answer)));
      }),
  };
  return { probe, asked };
}

it('is the table’s, times labels and the end, for an actor that is a table', async () => {
  const draws = random(1);
  for (let trial = 0; trial < 20; trial++) {
    const table = syntheticTable(draws, { slip: 0.05, misconceptions: 30, strength: 0.6 });
    const chain = drawChain(draws, { steps: 8, operationsPerStep: 1 + (trial % 2) });
    const { probe, asked } = actor(({ start, steps }, claims, next) => {
      let registers = new Map([[claims.at(-1) ?? start, 1]]);
      for (const operation of steps[claims.length]!.map((one) => OPERATIONS.indexOf(one))) {
        const after = new Map<number, number>();
        for (const [register, mass] of registers)
          for (let to = 0; to < 7; to++) {
            const p = mass * table[(operation * 7 + register) * 7 + to]!;
            after.set(to, (after.get(to) ?? 0) + p);
          }
        registers = after;
      }
      return registers.get(next)!;
    });
    const claims = registers(chain).slice(0, draws.integer(8));
    const wrong = claims.map((claim) => (claim + 1) % 7);
    const states = [[], claims, wrong].map((one) => stateOf(chain, claimsText(one)));
    const values = await exactValues(states, probe);
    for (const [i, begun] of [[], claims, wrong].entries()) {
      const expected = exactValue(table, chain, begun) * 0.99 ** (8 - begun.length) * 0.98;
      // What is rare counts as a failure.
      expect(values[i]).toBeLessThanOrEqual(expected + 1e-6);
      expect(values[i]).toBeGreaterThan(expected - 2e-3);
    }
    // Registers and labels of 8 steps, and the end: however many states one problem has.
    expect(asked.length).toBeLessThanOrEqual(8 * 7 + 8 + 1);
  }
});

it('knows what depends on the problem and on the place, as enumeration does', async () => {
  const step: Step = ({ start, steps }, claims, next) => {
    const register = claims.at(-1) ?? start;
    const right = apply(register, steps[claims.length]![0]!);
    const p = 0.4 + 0.1 * claims.length + 0.04 * start;
    return next === right ? p : (1 - p) / 6;
  };
  const draws = random(2);
  const chain = drawChain(draws, { steps: 3 });
  const enumerated = (claims: readonly number[]): number =>
    claims.length === 3
      ? Number(claims.at(-1) === registers(chain).at(-1)) * 0.98
      : [0, 1, 2, 3, 4, 5, 6].reduce(
          (sum, next) => sum + 0.99 * step(chain, claims, next) * enumerated([...claims, next]),
          0,
        );
  const begun = [[], [registers(chain)[0]!], [3, 5]];
  const { probe } = actor(step);
  const values = await exactValues(
    begun.map((claims) => stateOf(chain, claimsText(claims))),
    probe,
  );
  for (const [i, claims] of begun.entries()) expect(values[i]).toBeCloseTo(enumerated(claims), 6);
});

it('depends on its own state alone, whatever else is asked', async () => {
  // An actor that remembers: it errs more the more of its claims were wrong.
  const step: Step = ({ start, steps }, claims, next) => {
    const truth = registers({ start, steps });
    const wrong = claims.filter((claim, k) => claim !== truth[k]).length;
    const right = apply(claims.at(-1) ?? start, steps[claims.length]![0]!);
    return next === right ? 0.9 - 0.2 * Math.min(4, wrong) : (0.1 + 0.2 * Math.min(4, wrong)) / 6;
  };
  const draws = random(5);
  const states = Array.from({ length: 6 }, () => drawChain(draws, { steps: 8 })).flatMap((one) =>
    Array.from({ length: 8 }, (_, k) =>
      stateOf(
        one,
        claimsText(
          registers(one)
            .slice(0, k)
            .map((r) => (r + draws.integer(2)) % 7),
        ),
      ),
    ),
  );
  const { probe } = actor(step);
  const together = await exactValues([...states, ...states], probe);
  const reversed = (await exactValues([...states].reverse(), probe)).reverse();
  expect(together.slice(0, states.length)).toEqual(reversed);
  for (const [i, state] of states.entries())
    expect(await exactValues([state], probe)).toEqual([together[i]]);
});

const chain = parseChain('4 | a -2 | b -3 | >')!; // 2, then 6
const certain: Step = ({ start, steps }, claims, next) =>
  Number(next === apply(claims.at(-1) ?? start, steps[claims.length]![0]!));

it.each([
  ['', 0.99 * 0.99 * 0.98],
  ['a', 0.99 * 0.98],
  ['a 2', 0.99 * 0.98],
  ['a 2 b', 0.98],
  ['a 2 b 6', 0.98],
  ['a 2 b 6 .', 1],
  ['a 2 b 5 .', 0],
  ['a 2 b 5', 0],
  ['b 2', 0],
  ['a 7', 0],
  ['a 2 c', 0],
  ['a  2', 0],
  ['a 2 b 6 . .', 0],
  ['a 2 .', 0],
])('of "%s" is what is left to be written', async (response, expected) => {
  const [value] = await exactValues([stateOf(chain, response)], actor(certain).probe);
  expect(value).toBeCloseTo(expected, 6);
});

it('is 0 where there is no room, and needs no end where the limit ends the response', async () => {
  const states = ['', 'a 2 b 6 .'].map((response) => stateOf(chain, response));
  expect(await exactValues(states, actor(certain, 4).probe)).toEqual([0, 1]);
  expect((await exactValues(states, actor(certain, 5).probe))[0]).toBeCloseTo(0.99 * 0.99, 6);
});

it('knows chains of several lengths at once', async () => {
  const longer = parseChain('4 | a -2 | b -3 | c +1 | >')!;
  const states = [stateOf(chain, 'a 2'), stateOf(longer, 'a 2')];
  const values = await exactValues(states, actor(certain).probe);
  expect(values[0]).toBeCloseTo(0.99 * 0.98, 6);
  expect(values[1]).toBeCloseTo(0.99 ** 2 * 0.98, 6);
});

const task = (await miniature.create(miniature.options.parse({ steps: 3 }), {} as never)) as Task;
const plain = { temperature: 1, top_p: null, top_k: null, stop_strings: [], max_new_tokens: 20 };

it('is there for the task’s own reward and whole distributions alone', () => {
  const why = (sampling: object, rewards: unknown[] = []) =>
    noExactValues(task, { sampling: { ...plain, ...sampling }, rewards });
  expect(why({})).toBeNull();
  expect(why({ top_k: 5 })).toContain('sampling.top_k');
  expect(why({ stop_strings: ['b'] })).toContain('sampling.stop_strings');
  expect(why({}, [{}])).toContain('rewards:');
  const own = { name: 'own', problems: () => [] };
  expect(noExactValues(own, { sampling: plain, rewards: [] })).toBe('the task "own" knows none');
});

it.each([
  [[0.5, 0.5], '2 values'],
  [[Number.NaN], 'the value NaN'],
  [[1.7], 'the value 1.7'],
  [() => 1, 'a function'],
])('%s, of a task of the user’s, is refused', async (returned, words) => {
  const own = { ...task, exactValues: async () => returned as never };
  const exact = valuesOfTask(own, {} as never, () => ({ sampling: plain, rewards: [] }))!;
  await expect(exact([stateOf(chain, '')])).rejects.toThrow(
    `task "miniature": exactValues() must return one number in [0, 1] for each of 1 states, and returned ${words}`,
  );
});

it('of a real actor is what its continuations earn, at any temperature', async () => {
  const workers = await startWorkers({ workers: [{ name: 'actor', threads: 1 }] });
  try {
    const worker = workers.get('actor');
    const folder = join(mkdtempSync(join(tmpdir(), 'genac-exact-')), 'base-actor');
    const { signal } = new AbortController();
    await makeModel('base-actor', folder, { worker, seed: 0, progress: () => {}, signal }, 3);
    const model = await WorkerModel.load(worker, 'actor', {
      ...{ source: folder, kind: 'causal', initialization: 'pretrained', seed: 0, device: 'cpu' },
      ...{ dtype: 'float32', lora: null, optimizer: null },
    });
    const draws = random(3);
    const chains = Array.from({ length: 24 }, () => drawChain(draws, { steps: 3 }));
    const responses = chains.map((one, i) => claimsText(registers(one).slice(0, i % 3)));
    const texts = chains.map((one, i) => stateOf(one, responses[i]!));
    const tokens = await model.tokenize(
      texts.map(({ problem }) => problem.prompt),
      responses,
    );
    const states = texts.map((state, i) => ({ ...state, tokens: tokens[i]! }));
    for (const temperature of [1, 1.6]) {
      const sampling = { ...plain, temperature };
      const exact = valuesOfTask(task, model, () => ({ sampling, rewards: [] }))!;
      const values = await exact(states);
      const n = 512;
      const continued = await continueStates(
        {
          model,
          sampling: sampling as never,
          rewardOf: async (response) => ({ reward: Number(await task.reward!(response)) }) as never,
        },
        states,
        n,
        (i) => deriveSeed(i, 'continuation'),
      );
      const means = continued.map((own) => own.reduce((sum, one) => sum + one.reward, 0) / n);
      // Mean squared error, less the variance of the means.
      const error = means.reduce(
        (sum, p, i) => sum + (p - values[i]!) ** 2 - (p * (1 - p)) / (n - 1),
        0,
      );
      expect(error / means.length).toBeLessThan(0.001);
      expect(Math.max(...values) - Math.min(...values)).toBeGreaterThan(0.2);
    }
  } finally {
    await workers.close();
  }
}, 120_000);
