import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  checkEvaluation,
  distributionsOf,
  type EvaluationInput,
  evaluationSchema,
} from '../../src/comparison/config.ts';
import { costOf } from '../../src/comparison/cost.ts';
import { nameCritic } from '../../src/comparison/critics.ts';
import { evaluate } from '../../src/comparison/evaluate.ts';
import { floorsOf } from '../../src/comparison/floors.ts';
import { Lines } from '../../src/comparison/lines.ts';
import { namedFiles } from '../../src/comparison/named-files.ts';
import { distinctPrefixTokens } from '../../src/comparison/shared-prefixes.ts';
import { readYaml } from '../../src/config/load.ts';
import { Random } from '../../src/math/random.ts';
import type { State } from '../../src/types.ts';

const ids = (...tokens: number[]) => Int32Array.from(tokens);

describe('tokens of shared prefixes', () => {
  test('are counted once', () => {
    expect(distinctPrefixTokens([ids(1, 2, 3), ids(1, 2, 4, 5), ids(1, 2)])).toBe(5);
    expect(distinctPrefixTokens([])).toBe(0);
  });

  test('are as many as there are distinct beginnings', () => {
    const random = new Random([5, 5]);
    for (let trial = 0; trial < 100; trial++) {
      const all = Array.from({ length: random.integer(12) }, () =>
        Int32Array.from({ length: random.integer(6) }, () => random.integer(3)),
      );
      const beginnings = new Set(
        all.flatMap((one) => Array.from(one, (_, i) => one.slice(0, i + 1).join(' '))),
      );
      expect(distinctPrefixTokens(all)).toBe(beginnings.size);
    }
  });
});

test('the cost of values: prompts once for each state, and what parts report', () => {
  const promptIds = ids(1, 2, 3);
  const completion = { promptIds, completionIds: ids(7, 8), text: '', score: 1 };
  const value = { value: 0.1, rationale: '', parsed: 'ok' as const };
  const other = { ...completion, promptIds: ids(1, 2, 9) };
  const valuations = [
    { ...value, completions: [completion, completion] },
    { ...value, completions: [other] },
  ];
  const reports = [{ 'part-1/value_tokens_read': 10, 'part-0/api_cost': 0.5, unknown: 3 }];
  expect(costOf(valuations, reports, 2)).toEqual({
    ...{ states: 2, read: 6 + 10, read_shared: 4 + 10, written: 6, seconds: 2, dollars: 0.5 },
  });
});

test('floors are fitted on the other problems', () => {
  const judged = [0.2, 0.6, 0.7].map((mean, problem) => ({
    candidates: [],
    states: [0, 1].map((index) => ({
      ...{ problem, response: null, index, value: 0, parsed: false },
      reference: { mean: index === 0 ? mean : 1, square: mean, count: null },
    })),
  }));
  const problems = judged.map(({ states }, p) => ({
    problem: { id: `p${p}`, prompt: '1 + 1', columns: { right: 'right' } },
    actor: { name: 'actor', parameters: 1, successRate: null },
    ...{ promptIds: null, responses: [] },
    states: states.map(({ index, reference }, i) => ({
      ...{ response: null, index, text: i === 0 ? '' : 'right', tokens: null, reference },
    })),
  }));
  expect(Object.keys(floorsOf(judged, problems, {}))).toEqual(['constant', 'position']);
  // Of problem 1 nothing is right.
  problems[1]!.states[1]!.text = 'wrong';
  // A task may be an instance.
  class Judge {
    #no = 'not: ';
    stateClass({ response, problem }: State) {
      return response === problem.columns.right ? 'right' : `${this.#no}${response}`;
    }
  }
  const floors = floorsOf(judged, problems, new Judge());
  const valuesOf = (name: string) =>
    floors[name]!.map(({ states }) => states.map(({ value }) => value));
  const classes = valuesOf('state class');
  expect(classes.map(([start]) => start)).toEqual(valuesOf('position').map(([start]) => start));
  expect([classes[0]![1], classes[2]![1]]).toEqual([1, 1]);
  // Nobody else's is wrong: the mean of all other states.
  expect(classes[1]![1]).toBeCloseTo((0.2 + 0.7 + 2) / 4, 12);
  const silent = { stateClass: () => undefined as never };
  expect(() => floorsOf(judged, problems, silent)).toThrow('stateClass must return a string');
  // The same problem by another actor tells nothing of it either.
  problems[2]!.problem.id = problems[1]!.problem.id;
  const [first] = judged;
  const constant = first!.states.reduce((sum, { reference }) => sum + reference.mean, 0) / 2;
  for (const p of [1, 2])
    expect(floorsOf(judged, problems, {}).constant![p]!.states[0]!.value).toBeCloseTo(constant, 12);
  const position = valuesOf('position');
  expect(position[0]![0]).toBeCloseTo(0.65, 12);
  expect(position[2]![0]).toBeCloseTo(0.4, 12);
  expect(position[1]![1]).toBeCloseTo(1, 12);
  expect(valuesOf('constant')[0]![1]).toBeCloseTo((0.6 + 0.7 + 2) / 4, 12);
});

describe('a critic that can’t value a distribution is refused before a worker starts', () => {
  const oracles = ['oracle', { use: 'ensemble', critics: ['group-mean', 'oracle'] }];
  const folder = () => join(mkdtempSync(join(tmpdir(), 'genac-refused-')), 'evaluation');
  const actor = { model: 'task:base-actor' };
  const asked = (
    critic: EvaluationInput['critics'][string],
    changes: Pick<
      EvaluationInput,
      'actor' | 'shifts' | 'rewards' | 'references' | 'num_generations' | 'group_size'
    >,
  ) => evaluate({ folder: folder(), task: 'miniature', critics: { own: critic }, ...changes });

  test.each(oracles)('by its task’s values: %j', async (critic) => {
    const shifted = { actor, shifts: { few: { sampling: { top_k: 3 } } } };
    await expect(asked(critic, shifted)).rejects.toThrow(
      'critics.own: "oracle" needs exact values, but sampling.top_p and sampling.top_k',
    );
  });
  test('by exact values of another reward, which is said once for all distributions', async () => {
    const said: string[] = [];
    const rewards = [{ use: './test/fixtures/rewards/plain.ts' }];
    const shifts = { warm: { sampling: { temperature: 1.3 } } };
    const given = { folder: folder(), task: 'miniature', critics: { own: 'oracle' } };
    await expect(
      evaluate({ ...given, actor, rewards, shifts }, { log: (text) => void said.push(text) }),
    ).rejects.toThrow('"oracle" needs exact values, but rewards: replaces the reward');
    expect(said).toEqual([expect.stringContaining('what it judged by its own is not used')]);
  });
  test('by reference values of another reward', async () => {
    const rewards = [{ use: './test/fixtures/rewards/plain.ts' }];
    await expect(
      asked('group-mean', { actor: null, rewards, references: 'exact' }),
    ).rejects.toThrow('needs exact values, but rewards: replaces the reward whose values');
  });
  test.each([
    { num_generations: 1 },
    { num_generations: 1, group_size: 1 },
    { shifts: { alone: { num_generations: 1 } } },
  ])('by a group of one response: %j', async (changes) => {
    for (const critic of ['group-mean', { use: 'group-mean', leave_one_out: true }])
      await expect(asked(critic, { actor, ...changes })).rejects.toThrow(
        'critics.own: "group-mean" compares responses to one problem, and gets one',
      );
  });
  test('by states that a task brings, which have no responses to compare', async () => {
    await expect(asked('group-mean', { actor: null, references: 'exact' })).rejects.toThrow(
      'critics.own: "group-mean" compares responses to one problem, and there are none',
    );
  });
  test.each([...oracles, 'monte-carlo'])('by an actor that is not there: %j', async (critic) => {
    await expect(asked(critic, { actor: null })).rejects.toThrow(
      /critics.own: ".*" asks the actor about its own responses/,
    );
  });
});

describe('kept lines', () => {
  const path = () => join(mkdtempSync(join(tmpdir(), 'genac-lines-')), 'lines.jsonl');

  test('go on after half a line, and are dropped for other options', async () => {
    const file = path();
    const said: string[] = [];
    const open = (digest: string) => Lines.open<number>(file, digest, (text) => said.push(text));
    const first = await open('a');
    first.add(1);
    first.add(2);
    writeFileSync(file, `${readFileSync(file, 'utf8')}[3, 4`);
    const second = await open('a');
    expect(second.known).toEqual([1, 2]);
    second.add(3);
    expect((await open('a')).known).toEqual([1, 2, 3]);
    expect(said).toEqual([]);
    expect((await open('b')).known).toEqual([]);
    expect(said).toEqual([
      `${file} was made with other options, models or files, and is made anew`,
    ]);
    await open('c');
    expect(said).toHaveLength(1);
  });
});

describe('what kept values depend on', () => {
  const folder = mkdtempSync(join(tmpdir(), 'genac-named-'));
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text);

  test('are the files that options name, at any depth, and not what the work writes', () => {
    for (const name of ['data.jsonl', 'rewards.py', 'cache.jsonl', 'none']) write(name, 'a');
    const options = {
      task: { use: 'jsonl', file: 'data.jsonl', cache: 'cache.jsonl' },
      rewards: [{ use: './rewards.py:correct' }, { use: 'math-verify', weight: 2 }],
    };
    const before = namedFiles(options, folder);
    expect(before).toHaveLength(2);
    write('cache.jsonl', 'longer');
    write('none', 'longer');
    expect(namedFiles(options, folder)).toEqual(before);
    write('rewards.py', 'longer');
    const after = namedFiles(options, folder);
    expect(after[0]).toEqual(before[0]);
    expect(after[1]).not.toEqual(before[1]);
    write('data.jsonl', 'longer');
    expect(namedFiles(options, folder)[0]).not.toEqual(before[0]);
  });

  test("are the weights of a critic's parts", async () => {
    write('config.json', '{}');
    const model = relative('.', folder);
    const critics = ['value-head', 'value-head'].map((use) => ({ use, model }));
    const entry = { use: 'ensemble', critics };
    const identity = async () => (await nameCritic('both', entry, '/', false)).identity;
    const before = await identity();
    expect(await identity()).toEqual(before);
    write('model.safetensors', 'other weights');
    expect(await identity()).not.toEqual(before);
  });
});

test('a trained critic has the options that an evaluation names, or is refused', async () => {
  const from = mkdtempSync(join(tmpdir(), 'genac-trained-'));
  writeFileSync(join(from, 'config.json'), '{}');
  const optionsOf = async (changes: object) =>
    (await nameCritic('mine', { from, ...changes }, '/', false)).options;
  expect(await optionsOf({})).toMatchObject({ model: from, share_of_states: 1 });
  const some = { share_of_states: 0.5, completions_per_state: 3, agree_within: 1 };
  expect(await optionsOf(some)).toMatchObject({ model: from, ...some });
  await expect(optionsOf({ agree_within: 1 })).rejects.toThrow('agree_within');
});

describe('options', () => {
  const base = {
    folder: 'x',
    task: 'miniature',
    actor: { model: 'task:base-actor' },
    critics: { mean: 'group-mean' },
  };

  test('the example is valid, and names nearly every option', () => {
    const path = fileURLToPath(new URL('../../examples/evaluate.yaml', import.meta.url));
    const example = readYaml(path);
    const config = checkEvaluation(example, path);
    expect([...distributionsOf(config).keys()]).toEqual(['none', 'longer', 'base-actor']);
    const left = Object.keys(evaluationSchema.shape).filter((name) => !(name in example));
    expect(left.sort()).toEqual(['greedy', 'rewards', 'segmentation', 'split', 'workers']);
  });

  test('a ranking that there is not has no rule', () => {
    const given = { ...base, candidates: 0, rank_by: 'whole' };
    const words = 'rank_by: has no effect with `candidates: 0`';
    expect(() => checkEvaluation(given)).toThrow(words);
    expect(() => checkEvaluation({ ...given, shifts: { used: { candidates: 16 } } })).not.toThrow();
  });

  test('a shift changes what it names', () => {
    const config = checkEvaluation({
      ...base,
      sampling: { max_new_tokens: 40, temperature: 0.7 },
      shifts: { hot: { sampling: { temperature: 2 }, actor: { success_rate: 0.5 }, prompts: 3 } },
    });
    const { none, hot } = Object.fromEntries(distributionsOf(config));
    expect(hot).toMatchObject({ prompts: 3, sampling: { max_new_tokens: 40, temperature: 2 } });
    expect(hot!.actor).toMatchObject({ model: 'task:base-actor', success_rate: 0.5 });
    expect(none).toMatchObject({ prompts: 128, sampling: { temperature: 0.7 } });
  });

  test.each([
    [{ critics: {} }, /critics: none is named/],
    [
      { shifts: { hot: { sampling: { temperatur: 2 } } } },
      /shifts.hot.sampling.temperatur: no such option; did you mean "temperature"/,
    ],
    [{ shifts: { none: {} } }, /none/],
    [{ continuations: 1 }, /continuations: 1/],
    [{ problems: 3 }, /problems: no such option/],
    [{ candidates: 100_001 }, /candidates: 100001/],
    [{ group_size: 1 }, /^.*\n.*group_size: 1 is less than num_generations: 2/],
    [
      { shifts: { few: { num_generations: 9, group_size: 8 } } },
      /shifts.few.group_size: 8 is less/,
    ],
    [{ actor: null, group_size: 8 }, /group_size: has no effect without an actor/],
    [{ critics: { mean: 'group-mean', 7: 'oracle' } }, /not digits alone/],
    [{ critics: { ['__proto__']: 'oracle' } }, /critics/],
    [{ shifts: { '..': {} } }, /letters, digits/],
  ])('%j is refused', (change, words) => {
    expect(() => checkEvaluation({ ...base, ...change })).toThrow(words);
  });
});
