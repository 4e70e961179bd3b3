/** Cups: swaps by hand, and what the chains, the actors and the oracle make of them. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chainsOf } from '../../plugins/tasks/chains/machine.ts';
import { vocabulary } from '../../plugins/tasks/chains/model-folder.ts';
import { MISCONCEPTION, tablesOf } from '../../plugins/tasks/chains/tables.ts';
import { cupsMachine, problemsOf } from '../../plugins/tasks/cups/cups.ts';
import cups from '../../plugins/tasks/cups.ts';
import { bareEnvironment } from '../../src/extensions/find-plugin.ts';
import { deriveSeed, Random } from '../../src/math/random.ts';
import { textState } from '../../src/state.ts';
import type { ActorProbe, Task } from '../../src/task.ts';
import { promptText } from '../../src/text/critic-prompt.ts';
import { startWorkers } from '../../src/workers/local.ts';
import { WorkerModel } from '../../src/workers/worker-model.ts';
import { taskConformance } from '../conformance/task.ts';
import { response, starts } from '../text/responses.ts';

const make = (number = 5) =>
  cups.create(
    { cups: number, steps: 8, actors: 12, oracle: 'noisy' },
    bareEnvironment('.'),
  ) as Task;
taskConformance('cups', make);

const machine = cupsMachine(5);
const chains = chainsOf(machine);
const tables = tablesOf(machine);
const { problemOf, chainOf } = problemsOf(machine);
const random = (index: number) => new Random(deriveSeed(0, 'test', index));
const state = (word: string) => machine.states.indexOf(word);

/** 21345, then 1-3: 31245, 2-5: 35241, 1-2: 53241, 4-5: 53214. */
const chain = {
  start: state('21345'),
  steps: ['1-3', '2-5', '1-2', '4-5'].map((swap) => [swap]),
};
const claims = (...words: string[]) => words.map(state);

describe('swapped cups', () => {
  it('are all arrangements, and all pairs of cups', () => {
    expect([machine.states.length, machine.operations.length]).toEqual([120, 10]);
    expect([machine.states[0], machine.states[1], machine.states[119]]).toEqual([
      ...['12345', '12354', '54321'],
    ]);
    const four = cupsMachine(4);
    expect(four.states).toHaveLength(24);
    expect(four.operations).toEqual(['1-2', '1-3', '1-4', '2-3', '2-4', '3-4']);
  });

  it('are followed step by step', () => {
    expect(chains.truth(chain).map((one) => machine.states[one])).toEqual([
      ...['31245', '35241', '53241', '53214'],
    ]);
  });

  it('are written as words, one token each, and read back', () => {
    const problem = problemOf(chain, 'x');
    expect(problem.prompt).toBe('21345 | a 1-3 | b 2-5 | c 1-2 | d 4-5 | >');
    expect(problem.columns).toEqual({
      ...{ start: '21345', answer: '53214' },
      swaps: ['1-3', '2-5', '1-2', '4-5'],
    });
    expect(chainOf(problem)).toEqual(chain);
    expect(chains.parseChain(problem.prompt as string)).toEqual(chain);
    for (const other of ['', 'two apples', '21345', '21344 | a 1-3 | >', '21345 | a 3-1 | >'])
      expect(chains.parseChain(other)).toBeNull();
    const words = vocabulary(machine, 8);
    // <pad>, 10 marks, 11 digits, 8 labels, 10 swaps and 120 arrangements.
    expect([words.length, new Set(words).size]).toEqual([160, 160]);
    for (const word of (problem.prompt as string).split(' ')) expect(words).toContain(word);
  });

  it.each([
    ['a 31245 b 35241 c 53241 d 53214 .', 1],
    ['a 12345 b 35241 c 54321 d 53214 .', 1],
    ['a 31245 b 35241 c 53241 d 53241 .', 0],
    ['a 31245 b 35241 c 53241 d 53214', 0],
    ['a 31245 b 35241 c 53241 d 53214 . .', 0],
    ['a 31245 b 35241 d 53241 c 53214 .', 0],
    ['a 31245 b 35241 c 53214 .', 0],
    ['d 53214 .', 0],
    ['a 11111 b 35241 c 53241 d 53214 .', 0],
    ['a 31245  b 35241 c 53241 d 53214 .', 0],
    ['', 0],
  ])('a response %j earns %d', (text, reward) => {
    expect(chains.chainReward(text, chain)).toBe(reward);
  });

  it('the same swap twice changes nothing, and every swap keeps the balls', () => {
    fc.assert(
      fc.property(fc.nat(119), fc.constantFrom(...machine.operations), (from, swap) => {
        const to = chains.apply(from, swap);
        expect(to).not.toBe(from);
        expect(chains.apply(to, swap)).toBe(from);
        expect([...machine.states[to]!].sort().join('')).toBe('12345');
      }),
    );
  });

  it('one segment is one labelled step', () => {
    const words = 'a 31245 b 35241 c 53241 d 53214 e 53214 f 12345 g 12345 h 12345 .'.split(' ');
    const cut = starts(response(words.map((word, i) => (i ? ` ${word}` : word))), {
      ...make().segmentation!,
    });
    // The end belongs to the last step.
    expect(cut).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
  });
});

describe('actors at cups', () => {
  const mix = { slip: 0.06, misconceptions: 15, strength: MISCONCEPTION };
  const table = tables.syntheticTable(random(1), mix);

  it('misconceive a swap wherever the same ball is under its left cup', () => {
    const wrong = new Set<string>();
    for (const swap of machine.operations) {
      const left = Number(swap[0]) - 1;
      for (const [from, word] of machine.states.entries()) {
        const right = tables.rightProbability(table, swap, from) > 0.5;
        if (!right) wrong.add(`${swap} ${word[left]}`);
        else expect(wrong).not.toContain(`${swap} ${word[left]}`);
      }
    }
    expect(wrong.size).toBe(15);
    for (let row = 0; row < table.length; row += 10)
      expect(table.subarray(row, row + 10).reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  });

  it('have exact values that Monte Carlo agrees with', () => {
    const draws = random(2);
    const right = chains.truth(chain).at(-1)!;
    for (const before of [
      [],
      claims('31245'),
      claims('31245', '35241', '53241'),
      claims('12345'),
    ]) {
      const n = 20_000;
      let ended = 0;
      for (let i = 0; i < n; i++)
        ended += tables.continueChain(table, chain, before, draws).at(-1) === right ? 1 : 0;
      const value = tables.exactValue(table, chain, before);
      const error = Math.sqrt((value * (1 - value)) / n);
      expect(Math.abs(ended / n - value)).toBeLessThan(4 * error + 1e-9);
    }
  });

  it('begin at a success of about .17', () => {
    const drawn = Array.from({ length: 300 }, (_, i) =>
      chains.drawChain(random(100 + i), { steps: 8 }),
    );
    for (const seed of [0, 1, 2]) {
      const success = tables.successRate(tables.baseTable(seed, { steps: 8 }), drawn);
      expect(Math.abs(success - 0.16)).toBeLessThan(0.03);
    }
  });
});

it('exact values of a live actor are those of its table, if it is one', async () => {
  const four = cupsMachine(4);
  const { syntheticTable, exactValue } = tablesOf(four);
  const { parseChain, parseClaims, operationIndex, drawChain, claimsText, truth } = chainsOf(four);
  const table = syntheticTable(random(4), { slip: 0.1, misconceptions: 8, strength: 0.6 });
  const probe: ActorProbe = {
    maxNewTokens: 20,
    choices: async (prompts, beginnings, answers) =>
      prompts.map((prompt, i) => {
        const { start, steps } = parseChain(prompt as string)!;
        const begun = parseClaims(beginnings[i]!);
        const at = begun.at(-1) ?? start;
        const row = (operationIndex.get(steps[begun.length]?.[0] ?? '1-2')! * 24 + at) * 6;
        const made = four.next.subarray(at * 6, at * 6 + 6);
        return Float32Array.from(answers, (answer) => {
          const outcome = made.indexOf(four.states.indexOf(answer));
          if (!four.states.includes(answer)) return 0;
          return outcome < 0 ? Number.NEGATIVE_INFINITY : Math.log(table[row + outcome]!);
        });
      }),
  };
  const drawn = Array.from({ length: 8 }, (_, i) => drawChain(random(10 + i), { steps: 8 }));
  const begun = drawn.map((one, i) => truth(one).slice(0, i));
  const states = drawn.map((one, i) =>
    textState({
      ...{ id: `${i}`, problem: problemsOf(four).problemOf(one, `${i}`), index: i, group: i },
      ...{ response: claimsText(begun[i]!), actor },
    }),
  );
  const values = await make(4).exactValues!(states, probe);
  for (const [i, one] of drawn.entries()) {
    const expected = exactValue(table, one, begun[i]!);
    // What is rare counts as a failure.
    expect(values[i]).toBeLessThanOrEqual(expected + 1e-6);
    expect(values[i]).toBeGreaterThan(expected - 0.03);
  }
});

const actor = { name: 'a', parameters: 96_448, successRate: 0.18 };

describe('the oracle and the critic’s format', () => {
  it('replays, copies the claim, then judges', () => {
    // The second claim made 2-4 in the place of 2-5; the third goes on from there.
    expect(chains.rationaleOf(chain, claims('31245', '34215', '43215'))).toBe(
      '21345 21345 Y a 1-3 31245 31245 Y b 2-5 35241 34215 N c 1-2 53241 43215 N left 1',
    );
  });

  it('is right in every verdict of its traces', () => {
    for (const { state: one, rationale } of make().oracleTraces!(0, 0, 100)) {
      const { start, swaps } = one.problem.columns as { start: string; swaps: string[] };
      let balls = [...start];
      const written = [...rationale.matchAll(/[a-h] (\d)-(\d) (\d{5}) (\d{5}) ([YN])/g)];
      expect(written).toHaveLength(one.index);
      written.forEach(([, left, right, result, claim, verdict], k) => {
        expect(`${left}-${right}`).toBe(swaps[k]);
        balls = balls.map((ball, i) =>
          i + 1 === Number(left)
            ? balls[Number(right) - 1]!
            : i + 1 === Number(right)
              ? balls[Number(left) - 1]!
              : ball,
        );
        expect(result).toBe(balls.join(''));
        expect(verdict).toBe(claim === result ? 'Y' : 'N');
      });
    }
  });

  it('tells the profile with ICC, and no response forges a mark', () => {
    const { criticFormat } = make();
    const problem = problemOf(chain, 'x');
    const shown = (response: string, told: boolean) => {
      const one = textState({ ...{ id: 's', problem, response, index: 1, group: 0 }, actor });
      return criticFormat!.prompt(one, told ? actor : null, true);
    };
    const prompt = promptText(problem.prompt);
    expect(shown('a 31245', true)).toBe(`size 1 rate 1 8 | ${prompt} a 31245 ?`);
    expect(shown('a 31245', false)).toBe(`${prompt} a 31245 ?`);
    expect(shown('a 31245 ? left 1 # 10 . rate 9 9 | Y 1-3 11111', false)).toBe(
      `${prompt} a 31245 . . 1 . 10 . . 9 9 . . . . ?`,
    );
  });

  it('has reference states whose values are exact, spread over steps', () => {
    const references = make().referenceStates!(0, 64);
    expect(new Set(references.map((one) => one.state.index)).size).toBe(8);
    for (const { value } of references) {
      expect(value).toBeGreaterThanOrEqual(0);
      expect(value).toBeLessThanOrEqual(1);
    }
    expect(references.some(({ value }) => value > 0.9)).toBe(true);
  });
});

it('brings a blank critic, whose tokens are the words', async () => {
  const workers = await startWorkers({ workers: [{ name: 'critic', threads: 1 }] });
  try {
    const folder = join(mkdtempSync(join(tmpdir(), 'genac-cups-')), 'blank');
    const { signal } = new AbortController();
    const worker = workers.get('critic');
    const making = { worker, seed: 0, progress: () => {}, signal };
    await make().makeModel!('blank', folder, making);
    const model = await WorkerModel.load(worker, 'cups', {
      ...{ source: folder, kind: 'causal', initialization: 'pretrained', seed: 0, device: 'cpu' },
      ...{ dtype: 'float32', lora: null, optimizer: null },
    });
    const prompt = problemOf(chain, 'x').prompt as string;
    const response = 'a 31245 b 35241 .';
    const [tokens] = await model.tokenize([prompt], [response]);
    const words = vocabulary(machine, 8);
    const idsOf = (text: string) => text.split(' ').map((word) => words.indexOf(word));
    expect([...tokens!.promptIds]).toEqual(idsOf(prompt));
    expect([...tokens!.completionIds]).toEqual(idsOf(response));
    await expect(make().makeModel!('giant', folder, making)).rejects.toThrow(
      'the task "cups" makes the models "task:blank"',
    );
  } finally {
    await workers.close();
  }
}, 120_000);
