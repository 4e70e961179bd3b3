/** Chains of reasoning-gym: its own problems and verifiers, read as chains of a machine. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chainsOf } from '../../plugins/tasks/chains/machine.ts';
import { vocabulary } from '../../plugins/tasks/chains/model-folder.ts';
import { populationOf } from '../../plugins/tasks/chains/population.ts';
import { tablesOf } from '../../plugins/tasks/chains/tables.ts';
import { problemsOf } from '../../plugins/tasks/gym-chains/gym-machine.ts';
import { multiplesMachine } from '../../plugins/tasks/gym-chains/multiples.ts';
import { sumsMachine } from '../../plugins/tasks/gym-chains/sums.ts';
import { deriveSeed, Random } from '../../src/math/random.ts';
import { rewardOf } from '../../src/rewards/reward.ts';
import { textState } from '../../src/state.ts';
import type { ActorProbe } from '../../src/task.ts';
import type { Problem } from '../../src/types.ts';
import { taskConformance } from '../conformance/task.ts';
import { response, starts } from '../text/responses.ts';
import { type PythonTasks, pythonTasks } from './python-task.ts';

let tasks: PythonTasks;
beforeAll(async () => {
  tasks = await pythonTasks('.');
}, 60_000);
afterAll(() => tasks?.close());

const generators = ['chain_sum', 'lcm'] as const;
const load = async (generator: string, steps = 5) =>
  (await tasks.load({ use: 'gym-chains', generator, steps, actors: 12 })).task;
for (const generator of generators)
  taskConformance(`gym-chains, ${generator}`, () => load(generator));

const random = (index: number) => new Random(deriveSeed(0, 'test', index));
const machines = { chain_sum: sumsMachine(5), lcm: multiplesMachine(5) } as const;
const steps = (...operations: string[]) => operations.map((one) => [one]);

it.each([
  ['chain_sum', '4', steps('-9', '+7', '-0'), ['-5', '2', '2'], '4 - 9 + 7 - 0 ='],
  ['lcm', '6', steps('10', '4', '7'), ['30', '60', '420'], '6, 10, 4, 7'],
] as const)('%s is followed step by step, and asked as the generator asks', (...given) => {
  const [name, start, operations, results, written] = given;
  const machine = machines[name];
  const chain = { start: machine.states.indexOf(start), steps: operations };
  expect(
    chainsOf(machine)
      .truth(chain)
      .map((one) => machine.states[one]),
  ).toEqual(results);
  const { problemOf, chainIn, chainOf } = problemsOf(machine);
  const problem = problemOf(chain, 'x');
  expect(problem.prompt).toBe(`${machine.asked} ${written}`);
  expect(problem.columns).toMatchObject({ answer: results.at(-1), start });
  expect(chainIn(problem.prompt as string)).toEqual(chain);
  expect(chainOf(problem)).toEqual(chain);
  // Another start, an operation that there is not, other words, something before or behind.
  const text = problem.prompt as string;
  for (const other of [
    ...['', machine.asked, `${text} 5`, ` ${text}`, text.replace(` ${start}`, ' 77')],
    ...[text.replace('7', '11'), text.replace(/[:] /, ' '), text.toLowerCase()],
  ])
    expect([other, chainIn(other)]).toEqual([other, null]);
});

it('multiples are those that numbers up to 10 have', () => {
  const { states, starts: first } = machines.lcm;
  expect(states.slice(0, first)).toEqual(['2', '3', '4', '5', '6', '7', '8', '9', '10']);
  // Divisors of 2520 = 8 * 9 * 5 * 7 are 48, and 1 is none of them.
  expect(states).toHaveLength(47);
  for (const one of states) expect(2520 % Number(one)).toBe(0);
});

it('totals are all that six terms can reach', () => {
  const totals = machines.chain_sum.states.map(Number);
  expect([Math.min(...totals), Math.max(...totals), new Set(totals).size]).toEqual([-45, 54, 100]);
});

describe.each(generators)('%s', (name) => {
  const machine = machines[name];
  const { drawChain, truth, claimsText, rationaleOf } = chainsOf(machine);

  it('gives the generator’s own problems and answers', async () => {
    const task = await load(name);
    const problems = await task.problems('heldout', 3, 0, 200);
    const { chainOf } = problemsOf(machine);
    const own = await tasks.load({
      ...{ use: 'reasoning-gym', answer: 'response', template: '{question}' },
      generators: [{ ...machine.generator }],
    });
    const theirs = await own.task.problems('heldout', 3, 0, 200);
    expect(problems.map(({ columns }) => columns.question)).toEqual(
      theirs.map(({ columns }) => columns.question),
    );
    expect(problems.map(({ columns }) => columns.answer)).toEqual(
      theirs.map(({ columns }) => columns.answer),
    );
    for (const problem of problems) expect(chainOf(problem).steps).toHaveLength(5);
  });

  it('rewards a whole response whose last claim is the generator’s answer', async () => {
    const task = await load(name);
    const problems = await task.problems('train', 0, 0, 12);
    const { chainOf } = problemsOf(machine);
    const { task: theirs } = await tasks.load({
      ...{ use: 'reasoning-gym', answer: 'last-line', template: '{question}' },
      generators: [{ ...machine.generator }],
    });
    const own = await theirs.problems('train', 0, 0, 12);
    const earned = (problem: Problem, text: string) =>
      rewardOf(task, { text, problem, finishReason: 'stop_token' });
    for (const [i, problem] of problems.entries()) {
      const right = truth(chainOf(problem));
      // The generator's verifier takes the last claim for right, too.
      const answer = machine.states[right.at(-1)!]!;
      expect(
        await rewardOf(theirs, { text: answer, problem: own[i]!, finishReason: 'stop_token' }),
      ).toBe(1);
      expect(await earned(problem, `${claimsText(right)} .`)).toBe(1);
      const last = (right.at(-1)! + 1) % machine.states.length;
      const wrong = claimsText([...right.slice(0, -1), last]);
      for (const text of [`${wrong} .`, claimsText(right), `${claimsText(right.slice(1))} .`, ''])
        expect([text, await earned(problem, text)]).toEqual([text, 0]);
    }
  });

  it('has one word for each thing that is read and written, and room to write it', () => {
    const words = new Set(vocabulary(machine, 8));
    const { problemOf } = problemsOf(machine);
    for (let i = 0; i < 100; i++) {
      const chain = drawChain(random(i), { steps: 5 });
      const claims = truth(chain);
      const asked = machine.spellings.reduce(
        (text, [found, to]) => text.replaceAll(found, to),
        problemOf(chain, 'x').prompt as string,
      );
      const text = [asked, claimsText(claims), rationaleOf(chain, claims)].join(' ');
      expect(text.split(' ').filter((word) => !words.has(word))).toEqual([]);
    }
  });

  it('begins at a success of about .17, and one segment is one step', async () => {
    const { baseTable, successRate } = tablesOf(machine);
    const drawn = Array.from({ length: 300 }, (_, i) => drawChain(random(100 + i), { steps: 5 }));
    for (const seed of [0, 1, 2]) {
      const success = successRate(baseTable(seed, { steps: 5 }), drawn);
      expect([seed, success > 0.1 && success < 0.25]).toEqual([seed, true]);
    }
    const claims = truth(drawn[0]!);
    const text = `${claimsText(claims)} .`.split(' ').map((word, i) => (i ? ` ${word}` : word));
    const { segmentation } = await load(name);
    expect(starts(response(text), segmentation!)).toEqual([0, 2, 4, 6, 8]);
  });
});

it('exact values of multiples are read behind claims without what the last one lacks', async () => {
  const machine = multiplesMachine(5);
  const { problemOf } = problemsOf(machine);
  const index = (word: string) => machine.states.indexOf(word);
  const chain = { start: index('9'), steps: steps('5', '10', '4', '9', '3') };
  const problem = problemOf(chain, 'x');
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  const lcm = (a: number, b: number) => (a / gcd(a, b)) * b;
  /** Takes all earlier claims together, and not the last one alone. */
  const probe: ActorProbe = {
    maxNewTokens: 20,
    choices: async (prompts, beginnings, answers) =>
      prompts.map((_, i) => {
        const claims = [...beginnings[i]!.matchAll(/ (\d+)/g)].map(([, claim]) => Number(claim));
        const operation = Number(chain.steps[claims.length]?.[0] ?? 1);
        const next = String([9, ...claims, operation].reduce(lcm));
        return Float32Array.from(answers, (answer) => {
          if (!machine.states.includes(answer)) return 0;
          return answer === next ? 0 : Number.NEGATIVE_INFINITY;
        });
      }),
  };
  const stateOf = (text: string) =>
    textState({
      ...{ id: text, problem, response: text, index: 0, group: 0 },
      actor: { name: 'a', parameters: 1, successRate: null },
    });
  const task = await load('lcm');
  // Behind 90 it never had the 4 of 180, and nothing brings it any more.
  const responses = ['', 'a 45 b 90 c 180', 'a 45 b 90 c 90', 'a 45 b 90 c 90 d 90', 'a 5'];
  expect(await task.exactValues!(responses.map(stateOf), probe)).toEqual([1, 1, 0, 0, 1]);
});

it('synthetic actors at multiples are as weak as the base actor, although errors mend', () => {
  const machine = multiplesMachine(6);
  const { makePopulation } = populationOf(machine, { steps: 6 }, problemsOf(machine).problemOf);
  const successes = makePopulation(0, 'train', 24).map(({ success }) => success);
  expect(Math.min(...successes)).toBeLessThan(0.17);
  expect(Math.max(...successes)).toBeGreaterThan(0.9);
  expect(successes.filter((one) => one < 0.35).length).toBeGreaterThan(5);
});
