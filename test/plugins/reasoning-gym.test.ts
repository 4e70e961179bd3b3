import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answerOf, answerSchema, templateFor } from '../../plugins/tasks/reasoning-gym/answer.ts';
import { batched } from '../../plugins/tasks/reasoning-gym/batched.ts';
import { rewardOf } from '../../src/rewards/reward.ts';
import type { Problem } from '../../src/types.ts';
import { taskConformance } from '../conformance/task.ts';
import { type PythonTasks, pythonTasks } from './python-task.ts';

let tasks: PythonTasks;
beforeAll(async () => {
  tasks = await pythonTasks('.');
}, 60_000);
afterAll(() => tasks?.close());

const use = 'reasoning-gym';
const small = { name: 'chain_sum', parameters: { min_terms: 2, max_terms: 3, max_digits: 1 } };
const load = async (choice: object = {}) =>
  (await tasks.load({ use, generators: [small], ...choice })).task;
const responding = (problem: Problem, text: string) => ({
  text,
  problem,
  finishReason: 'stop_token' as const,
});

taskConformance('reasoning-gym', () => load());
taskConformance('reasoning-gym, a mixture', () =>
  load({
    generators: ['gsm_symbolic', { name: 'countdown', weight: 2 }, 'prime_factorization'],
    answer: 'response',
  }),
);

describe('problems', () => {
  it('are text with where to put the answer, or a chat', async () => {
    const [plain] = await (await load()).problems('train', 0, 0, 1);
    expect(plain!.prompt).toMatch(
      /^State the final answer .*=\n\nEnd with the final answer between <answer> and <\/answer>\.$/,
    );
    expect(Object.keys(plain!.columns)).toEqual([
      'question',
      'answer',
      'generator',
      'generator_index',
      'seed',
    ]);
    const chat = await load({ system: 'Add.', template: 'Q: {question}', answer: 'last-number' });
    const [problem] = await chat.problems('train', 0, 0, 1);
    const content = `Q: ${problem!.columns.question}`;
    expect(problem!.prompt).toEqual([
      { role: 'system', content: 'Add.' },
      { role: 'user', content },
    ]);
  });

  it('are the same in every process, also where a generator walks over a set', async () => {
    const generators = ['ransom_note', 'isomorphic_strings', 'polynomial_multiplication'];
    const problemsIn = async (where: PythonTasks) => {
      const { task } = await where.load({ use, generators });
      return task.problems('train', 0, 0, 12);
    };
    const other = await pythonTasks('.');
    try {
      expect(await problemsIn(other)).toEqual(await problemsIn(tasks));
    } finally {
      await other.close();
    }
  }, 60_000);

  it('have seeds that never meet between the splits', async () => {
    const task = await load();
    for (const seed of [0, 1, 2 ** 40]) {
      const seeds = async (split: 'train' | 'heldout') =>
        (await task.problems(split, seed, 0, 30)).map(({ columns }) => columns.seed as number);
      for (const train of await seeds('train')) expect(train).toBeLessThan(2 ** 31);
      for (const held of await seeds('heldout')) expect(held).toBeGreaterThanOrEqual(2 ** 31);
    }
  });

  it('are drawn by weight', async () => {
    const task = await load({ generators: [{ ...small, weight: 3 }, 'basic_arithmetic'] });
    const names = (await task.problems('train', 0, 0, 400)).map(({ columns }) => columns.generator);
    // 300 are expected of 400; a standard deviation is 8.7.
    const sums = names.filter((name) => name === 'chain_sum').length;
    expect(Math.abs(sums - 300)).toBeLessThan(35);
  });
});

describe('the reward', () => {
  it('is the verifier’s score of the answer, 0 where there is none', async () => {
    const task = await load();
    const problems = await task.problems('train', 0, 0, 60);
    const right = problems.map((p) => responding(p, `so <answer> ${p.columns.answer} </answer>`));
    const wrong = problems.map((p) => responding(p, '<answer>wrong</answer>'));
    const none = problems.map((p) => responding(p, `it is ${p.columns.answer}`));
    const rewards = async (responses: typeof right) =>
      Promise.all(responses.map((response) => rewardOf(task, response)));
    const [ofRight, ofWrong, ofNone] = await Promise.all([right, wrong, none].map(rewards));
    expect(new Set(ofRight)).toEqual(new Set([1]));
    expect(new Set(ofWrong)).toEqual(new Set([0]));
    expect(new Set(ofNone)).toEqual(new Set([0]));
  });

  it('of an answer that the verifier can’t read is 0, said once', async () => {
    const { task, log } = await tasks.load({ use, generators: ['prime_factorization'] });
    const [problem] = await task.problems('train', 0, 0, 1);
    const odd = responding(problem!, '<answer>nonsense</answer>');
    expect(await Promise.all([rewardOf(task, odd), rewardOf(task, odd)])).toEqual([0, 0]);
    expect(log).toEqual([
      expect.stringMatching(
        /^task: the verifier of prime_factorization can't read the answer "nonsense" \(ValueError: .*\): such answers earn 0$/,
      ),
    ]);
  });
});

describe('the answer of a response', () => {
  it.each([
    ['a <answer>1</answer> b <answer> 2\n3 </answer> c', { tag: 'answer' }, '2\n3'],
    ['<answer>1</answer> <answer>2', { tag: 'answer' }, '1'],
    ['<answer> </answer>', { tag: 'answer' }, null],
    ['1</answer>', { tag: 'answer' }, null],
    ['<answer>5</answer> so </answer>', { tag: 'answer' }, '5'],
    ['<answer><answer>5</answer></answer>', { tag: 'answer' }, '5'],
    ['Answer: 1\nAnswer: 2 \nx', { after: 'Answer:' }, '2'],
    ['answer: 1', { after: 'Answer:' }, null],
    ['a\nb \n\n', 'last-line', 'b'],
    [' \n', 'last-line', null],
    ['1 or -1,234.50.', 'last-number', '-1234.50'],
    ['2, 3 and .5', 'last-number', '.5'],
    ['it is −3', 'last-number', '-3'],
    ['the difference is 10-3', 'last-number', '3'],
    ['between 2019-2021', 'last-number', '2021'],
    ['x=-5', 'last-number', '-5'],
    ['none', 'last-number', null],
    [' all ', 'response', 'all'],
  ])('%j by %j is %j', (text, place, expected) => {
    expect(answerOf(text, answerSchema.parse(place))).toBe(expected);
    expect(templateFor(answerSchema.parse(place))).toContain('final answer');
  });
});

describe('batches', () => {
  it('take what is asked in a turn and while another is answered', async () => {
    const sizes: number[] = [];
    const double = batched(async (numbers: readonly number[]) => {
      sizes.push(numbers.length);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return numbers.map((n) => 2 * n);
    }, 4);
    const early = [1, 2, 3].map(double);
    while (sizes.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const late = [4, 5, 6, 7, 8].map(double);
    expect(await Promise.all([...early, ...late])).toEqual([2, 4, 6, 8, 10, 12, 14, 16]);
    expect(sizes).toEqual([3, 4, 1]);
    expect(await double(9)).toBe(18);
  });

  it('fail together, and the next one does not', async () => {
    let calls = 0;
    const fail = batched(async (questions: readonly string[]) => {
      if (calls++ === 0) throw new Error('no');
      return questions.slice(1);
    }, 10);
    const failures = await Promise.allSettled([fail('a'), fail('b')]);
    expect(failures.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await expect(fail('c')).rejects.toThrow('1 were asked for, and 0 came back');
  });
});

it.each([
  [
    { generators: ['chain_sums'] },
    "task.generators: reasoning-gym has no generator 'chain_sums'; did you mean 'chain_sum'?",
  ],
  [
    { generators: ['composite'] },
    "the generator 'composite' can't be used here: name its generators themselves",
  ],
  [
    { generators: [{ name: 'chain_sum', parameters: { min_term: 2 } }] },
    "generator 'chain_sum' has no parameter 'min_term'; did you mean 'min_terms'?",
  ],
  [
    { generators: [{ name: 'chain_sum', parameters: { seed: 2 } }] },
    "the parameter 'seed' is set by the run; leave it out",
  ],
  [
    { generators: [{ name: 'chain_sum', parameters: { min_terms: 9 } }] },
    'generator \'chain_sum\' does not work with {"min_terms": 9}: AssertionError: max_terms ' +
      'must be >= min_terms',
  ],
  [{ generators: [{ name: 'chain_sum', weight: 0 }] }, 'task.generators.0'],
  [{ template: '{answer}' }, 'task.template: has no {question}, where the problem stands'],
  [
    { template: '{question} {answr}' },
    'task.template: there is no column "answr"; did you mean "answer"?',
  ],
  [{ system: 'a', format: 'text' }, 'task.format: "text": a system message needs `format: chat`'],
  [{ answer: 'last' }, 'task.answer: "last"'],
])('%j is one clear error', async (changes, expected) => {
  const message = await tasks.failure({ use, generators: [small], ...changes });
  expect(message).toContain(expected);
  expect(message).not.toContain('Traceback');
});
