import { describe, expect, it } from 'vitest';
import { chainsOf } from '../../plugins/tasks/chains/machine.ts';
import { vocabulary } from '../../plugins/tasks/chains/model-folder.ts';
import { MISCONCEPTION, tablesOf } from '../../plugins/tasks/chains/tables.ts';
import { cupsMachine } from '../../plugins/tasks/cups/cups.ts';
import {
  continueChain,
  exactValue,
  rightProbability,
  successRate,
  syntheticTable,
  tableForSuccess,
} from '../../plugins/tasks/miniature/actors.ts';
import {
  apply,
  chainOf,
  chainProblem,
  chainReward,
  classOf,
  drawChain,
  OPERATIONS,
  parseChain,
  parseClaims,
  rationaleOf,
  registerMachine,
  registerMachineOf,
  registers,
} from '../../plugins/tasks/miniature/chains.ts';
import uncalibrated from '../../plugins/tasks/miniature/uncalibrated.ts';
import miniature from '../../plugins/tasks/miniature.ts';
import type { CriticEnvironment } from '../../src/critic.ts';
import { bareEnvironment } from '../../src/extensions/find-plugin.ts';
import { deriveSeed, Random } from '../../src/math/random.ts';
import { mean } from '../../src/math/statistics.ts';
import { textState } from '../../src/state.ts';
import type { Task } from '../../src/task.ts';
import { promptText } from '../../src/text/critic-prompt.ts';
import type { State } from '../../src/types.ts';
import { taskConformance } from '../conformance/task.ts';
import { response, starts } from '../text/responses.ts';

const made = (given: object) =>
  miniature.create(miniature.options.parse(given), bareEnvironment('.'));
const make = () => made({ actors: 12 });
const makeTwo = () => made({ operations_per_step: 2, actors: 12 });
taskConformance('miniature', make);
taskConformance('miniature, with two operations a step', makeTwo);

const chain = {
  start: 4,
  steps: ['-2', '-3', '-3', '-3', '+6', '*6', '-6', '+5'].map((operation) => [operation]),
};
const random = (index: number) => new Random(deriveSeed(0, 'test', index));

describe('register chains', () => {
  it('are computed modulo 7', () => {
    expect([apply(2, '-3'), apply(4, '*6'), apply(6, '+6')]).toEqual([6, 3, 5]);
    // 4 -2 = 2, -3 = 6, -3 = 3, -3 = 0, +6 = 6, *6 = 36 mod 7 = 1, -6 = 2, +5 = 0
    expect(registers(chain)).toEqual([2, 6, 3, 0, 6, 1, 2, 0]);
  });

  it('are written as words, one token each', () => {
    const problem = chainProblem(chain, 'x');
    expect(problem.prompt).toBe('4 | a -2 | b -3 | c -3 | d -3 | e +6 | f *6 | g -6 | h +5 | >');
    expect(chainOf(problem)).toEqual(chain);
    expect(OPERATIONS).toHaveLength(17);
    const words = vocabulary(registerMachine, 8);
    expect(new Set(words).size).toBe(47);
    for (const word of (problem.prompt as string).split(' ')) expect(words).toContain(word);
  });

  it('modulo 11 have 319 cells, one token each, and segments of two digits', () => {
    const machine = registerMachineOf(11);
    expect(machine.operations.length * machine.states.length).toBe(319);
    const { apply: applied, chainPrompt } = chainsOf(machine);
    expect([applied(2, '-3'), applied(4, '*6'), applied(6, '+10')]).toEqual([10, 2, 5]);
    const words = new Set(vocabulary(machine, 8));
    const asked = { start: 10, steps: machine.operations.slice(-8).map((one) => [one]) };
    for (const word of chainPrompt(asked).split(' ')) expect(words).toContain(word);
    const task = made({ modulus: 11, actors: 4 }) as Task;
    const text = 'a 10 b 3 c 0 d 10 e 1 f 2 g 9 h 10 .';
    const cut = starts(
      response(text.split(' ').map((word, i) => (i ? ` ${word}` : word))),
      task.segmentation!,
    );
    expect(cut).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
    const { baseTable: table, successRate: rate } = tablesOf(machine);
    const drawn = Array.from({ length: 200 }, (_, i) =>
      chainsOf(machine).drawChain(random(i), { steps: 8 }),
    );
    expect(Math.abs(rate(table(0, { steps: 8 }), drawn) - 0.17)).toBeLessThan(0.05);
  });

  it('may have two operations a step, whose register is named after the second', async () => {
    // 4 -2 +6 = 1, *5 -1 = 4, +3 *2 = 0
    const two = {
      start: 4,
      steps: [
        ['-2', '+6'],
        ['*5', '-1'],
        ['+3', '*2'],
      ],
    };
    const prompt = '4 | a -2 +6 | b *5 -1 | c +3 *2 | >';
    expect([chainProblem(two, 'x').prompt, parseChain(prompt)]).toEqual([prompt, two]);
    expect(registers(two)).toEqual([1, 4, 0]);
    expect([chainReward('a 1 b 4 c 0 .', two), chainReward('a 1 b 4 c 1 .', two)]).toEqual([1, 0]);
    expect(rationaleOf(two, [1, 3])).toBe('4 4 Y a -2 2 +6 1 1 Y b *5 5 -1 4 3 N left 1');
    // Each cell is right with .9 and else any of the six others with 1/60: of two, .81 + .1 / 60.
    const slips = syntheticTable(random(3), { slip: 0.1, misconceptions: 0, strength: 0 });
    const additions = { start: 0, steps: [['+1', '+2']] };
    expect(exactValue(slips, additions, [])).toBeCloseTo(0.81 + 0.1 / 60, 12);
    const task = (await makeTwo()) as Task;
    const drawn = (await task.problems('train', 0, 0, 20)).map(chainOf);
    expect(drawn.every(({ steps }) => steps.length === 8)).toBe(true);
    expect(drawn.every(({ steps }) => steps.every((one) => one.length === 2))).toBe(true);
    const words = new Set(vocabulary(registerMachine, 8));
    for (const { state, rationale } of await task.oracleTraces!(0, 0, 20)) {
      expect(chainOf(state.problem).steps.flat()).toHaveLength(16);
      expect(rationale.split(' ').filter((word) => !words.has(word))).toEqual([]);
    }
    const far = Array.from({ length: 200 }, (_, i) =>
      drawChain(random(i), { steps: 8, operationsPerStep: 2 }),
    );
    const length = { steps: 8, operationsPerStep: 2 };
    const rates = [0.1, 0.5, 0.9].map((target) =>
      mean([0, 1, 2, 3].map((i) => successRate(tableForSuccess(random(i), target, length), far))),
    );
    for (const [i, target] of [0.1, 0.5, 0.9].entries())
      expect(Math.abs(rates[i]! - target)).toBeLessThan(0.1);
  });

  it('of two operations a step are computed modulo 7 alone', () => {
    const read = miniature.options.safeParse({ operations_per_step: 2, modulus: 11 });
    expect(read.error?.issues).toMatchObject([
      { path: ['operations_per_step'], message: expect.stringContaining('modulo 7 alone') },
    ]);
  });

  it.each([2, 8, 10, 11, 12])('of %i steps have a word for all that a critic writes', (steps) => {
    for (const machine of [registerMachine, cupsMachine(5)]) {
      const words = new Set(vocabulary(machine, steps));
      const { drawChain, chainPrompt, claimsText, truth, rationaleOf } = chainsOf(machine);
      const long = drawChain(new Random([1, steps]), { steps });
      for (let k = 0; k <= steps; k++) {
        const claims = truth(long).slice(0, k);
        const text = [chainPrompt(long), claimsText(claims), rationaleOf(long, claims)].join(' ');
        const unknown = text.split(' ').filter((word) => word !== '' && !words.has(word));
        expect([steps, k, unknown]).toEqual([steps, k, []]);
      }
    }
  });

  it('are rewarded for the last register, in a complete response only', () => {
    expect(chainReward('a 2 b 6 c 3 d 0 e 6 f 1 g 2 h 0 .', chain)).toBe(1);
    expect(chainReward('a 1 b 6 c 3 d 0 e 6 f 1 g 2 h 0 .', chain)).toBe(1);
    expect(chainReward('a 2 b 6 c 3 d 0 e 6 f 1 g 2 h 1 .', chain)).toBe(0);
    expect(chainReward('a 2 b 6 c 3 d 0 e 6 f 1 g 2 h 0', chain)).toBe(0);
    expect(chainReward('h 0 .', chain)).toBe(0);
    expect(parseClaims('a 2 b 6 d 3')).toEqual([2, 6]);
  });

  it('have states of as many classes as checking tells apart', () => {
    const classesOf = (...texts: readonly string[]) => texts.map((text) => classOf(chain, text));
    expect(classesOf('', 'a 2', 'a 1', 'a 1 b 6 ', 'a 2 b 5')).toEqual([
      ...['0 right', '1 right', '1 wrong', '2 right', '2 wrong'],
    ]);
    expect(classesOf('b 6', 'a 2 b', 'a 9')).toEqual(['malformed', 'malformed', 'malformed']);
  });
});

describe('an evaluation’s variants', () => {
  it('a prompt is read back, and nothing else is taken for one', () => {
    const prompt = chainProblem(chain, 'x').prompt as string;
    expect(parseChain(prompt)).toEqual(chain);
    for (const other of ['', 'two apples', prompt.slice(0, -2), prompt.replace('-2', '/2')])
      expect(parseChain(other)).toBeNull();
  });

  it('problems may have some of the operations alone', async () => {
    const sums = made({ actors: 4, operations: ['+', '-'] });
    const problems = await (await sums).problems('heldout', 0, 0, 50);
    const drawn = new Set(problems.flatMap((problem) => chainOf(problem).steps.flat()));
    expect([...drawn].filter((operation) => operation.startsWith('*'))).toEqual([]);
    expect(drawn.size).toBe(12);
    // All of them are the default, and what earlier runs drew.
    const [all] = await (await make()).problems('heldout', 0, 0, 1);
    expect(all!.prompt).toBe(
      chainProblem(
        drawChain(new Random(deriveSeed(0, 'miniature/problems/heldout', 0)), { steps: 8 }),
        'x',
      ).prompt,
    );
  });

  it('the oracle as a critic reasons rightly, and its scores are not the actor’s', async () => {
    const actor = { name: 'one', parameters: 1, successRate: 0.9 };
    const problem = chainProblem(chain, 'x');
    const states = ['a 2 b 6', 'a 2 b 5'].flatMap((response) =>
      Array.from({ length: 40 }, (_, i) =>
        textState({ id: `${response} ${i}`, problem, response, index: 2, group: i, actor }),
      ),
    );
    const valuesWith = async (icc: boolean) => {
      const critic = await uncalibrated.create({ icc }, { seed: 0 } as CriticEnvironment);
      const context = { purpose: 'test', iteration: 0 };
      const values = (await critic.value(states, context)).map(({ value }) => value);
      return [mean(values.slice(0, 40)), mean(values.slice(40))];
    };
    const [right, wrong] = await valuesWith(true);
    // (1 - (1 - .9^(1/8)) / 2)^6 = .96 is score 10, and .2 is score 2, with noise of -2..2.
    expect(right).toBeGreaterThan(0.88);
    expect(Math.abs(wrong! - 0.2)).toBeLessThan(0.07);
    // Half of the problems: (1 - (1 - .5^(1/8)) / 2)^6 = .78.
    const [without] = await valuesWith(false);
    expect(Math.abs(without! - 0.78)).toBeLessThan(0.07);
    const critic = await uncalibrated.create({ icc: true }, { seed: 0 } as CriticEnvironment);
    const other = textState({
      ...{ id: 'o', response: '', index: 0, group: 0, actor },
      problem: { id: 'o', prompt: 'two apples', columns: {} },
    });
    const [valuation] = await critic.value([other], { purpose: 'test', iteration: 0 });
    expect(valuation).toMatchObject({ value: 0.5, parsed: 'malformed' });
  });
});

describe('synthetic actors', () => {
  const table = syntheticTable(random(1), {
    slip: 0.06,
    misconceptions: 20,
    strength: MISCONCEPTION,
  });

  it('have rows that sum to 1, and an exact number of misconceptions', () => {
    let misconceived = 0;
    for (const operation of OPERATIONS) {
      for (let register = 0; register < 7; register++)
        if (rightProbability(table, operation, register) < 0.5) misconceived++;
    }
    expect(misconceived).toBe(20);
    for (let row = 0; row < table.length; row += 7)
      expect(table.subarray(row, row + 7).reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  });

  it('have exact values that Monte Carlo agrees with', () => {
    const draws = random(2);
    for (const claims of [[], [2, 6, 3], [2, 5], [2, 6, 3, 0, 6, 1, 2]]) {
      const n = 20_000;
      let right = 0;
      for (let i = 0; i < n; i++)
        right +=
          continueChain(table, chain, claims, draws).at(-1) === registers(chain).at(-1) ? 1 : 0;
      const value = exactValue(table, chain, claims);
      expect(Math.abs(right / n - value)).toBeLessThan(
        4 * Math.sqrt((value * (1 - value)) / n) + 1e-9,
      );
    }
  });

  it('value a finished right response with 1 and a wrong one with 0', () => {
    expect(exactValue(table, chain, registers(chain))).toBe(1);
    expect(exactValue(table, chain, [...registers(chain).slice(0, -1), 3])).toBe(0);
  });

  it('succeed about as often as asked', () => {
    const chains = Array.from({ length: 300 }, (_, i) => drawChain(random(100 + i), { steps: 8 }));
    for (const target of [0.1, 0.5, 0.9]) {
      const mean = [0, 1, 2, 3].reduce(
        (sum, i) => sum + successRate(tableForSuccess(random(i), target, { steps: 8 }), chains) / 4,
        0,
      );
      expect(Math.abs(mean - target)).toBeLessThan(0.1);
    }
  });
});

describe('the oracle and the critic’s format', () => {
  it('replays, copies the claim, then judges', () => {
    expect(rationaleOf(chain, [2, 4, 1, 0])).toBe(
      '4 4 Y a -2 2 2 Y b -3 6 4 N c -3 3 1 N d -3 0 0 Y left 4',
    );
  });

  it('tells the profile with ICC, and nothing of it without', () => {
    const { criticFormat } = make() as Exclude<ReturnType<typeof make>, Promise<unknown>>;
    const state: State = {
      id: 's',
      problem: chainProblem(chain, 'x'),
      response: 'a 2 b 4',
      index: 2,
      group: 0,
      trajectory: 0,
      tokens: null,
      actor: { name: 'a', parameters: 85_000, successRate: 0.18 },
    };
    const problem = promptText(state.problem.prompt);
    expect(criticFormat!.prompt(state, state.actor, true)).toBe(
      `size 1 rate 1 8 | ${problem} a 2 b 4 ?`,
    );
    expect(criticFormat!.prompt(state, null, true)).toBe(`${problem} a 2 b 4 ?`);
  });

  it('can’t be forged from inside a response', () => {
    const { criticFormat } = make() as Exclude<ReturnType<typeof make>, Promise<unknown>>;
    const state: State = {
      id: 's',
      problem: chainProblem(chain, 'x'),
      response: 'a 2 ? left 0 # 10 . rate 9 9 |',
      index: 1,
      group: 0,
      trajectory: 0,
      tokens: null,
      actor: { name: 'a', parameters: 85_000, successRate: null },
    };
    const shown = criticFormat!.prompt(state, null, true) as string;
    const response = shown.slice(promptText(state.problem.prompt).length);
    for (const mark of ['?', '#', '|', 'left', 'rate'])
      expect(response.split(' ').slice(0, -1)).not.toContain(mark);
    expect(shown.endsWith(' ?')).toBe(true);
  });

  it('has reference states whose values are exact', () => {
    const references = (make() as Exclude<ReturnType<typeof make>, Promise<unknown>>)
      .referenceStates!(0, 64);
    expect(references).toHaveLength(64);
    expect(new Set(references.map((r) => r.state.index))).toEqual(
      new Set([0, 1, 2, 3, 4, 5, 6, 7]),
    );
    for (const { value } of references) expect(value).toBeGreaterThanOrEqual(0);
  });
});
