import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { linesOf, rowOfLine } from '../../plugins/tasks/rows/json-lines.ts';
import { loadTask } from '../../src/extensions/find-plugin.ts';
import { taskConformance } from '../conformance/task.ts';

const folder = mkdtempSync(join(tmpdir(), 'genac-jsonl-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function write(content: string | Buffer): string {
  const name = `${files++}.jsonl`;
  writeFileSync(join(folder, name), content);
  return name;
}
const lines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const sums = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    question: `${i} + 1?`,
    answer: i + 1,
    tags: ['sum'],
  }));

/** The task, and what it logged. */
async function load(file: string, changes: object = {}) {
  const log: string[] = [];
  const call = () => Promise.reject(new Error('no Python here'));
  const environment = {
    base: folder,
    python: { call },
    log: (text: string) => void log.push(text),
  };
  const { task } = await loadTask({ use: 'jsonl', file, ...changes }, environment);
  return { task, log };
}
const causes = (file: string, changes: object = {}) =>
  load(file, changes).then(
    () => 'it did not fail',
    (error: Error) => error.message,
  );
const all = async (file: string, changes: object = {}) => {
  const { task } = await load(file, { heldout: { file: heldout }, ...changes });
  const problems = await task.problems('train', 0, 0, 40);
  return [...new Map(problems.map((problem) => [problem.id, problem])).values()];
};
const heldout = write(lines([{ prompt: 'held out', question: 'held out', answer: 0 }]));

taskConformance('jsonl', async () => (await load(large, { prompt: 'question' })).task);
taskConformance('jsonl, with fewer problems than are asked for', async () => {
  return (await load(write(lines(sums(7))), { prompt: 'question' })).task;
});
const large = write(lines(sums(500)));

describe('what a line becomes', () => {
  it('text, with the other columns beside', async () => {
    const problems = await all(write(lines(sums(1))), { prompt: 'question' });
    expect(problems).toEqual([
      { id: 'train-1', prompt: '0 + 1?', columns: { answer: 1, tags: ['sum'] } },
    ]);
  });

  it('a template, in which other braces are plain text', async () => {
    const template = '{question} (not {{question}})\nAnswer in \\boxed{}, as {"a": 1}; {answer}.';
    const [problem] = await all(write(lines(sums(1))), { template });
    expect(problem!.prompt).toBe('0 + 1? (not {question})\nAnswer in \\boxed{}, as {"a": 1}; 1.');
    expect(problem!.columns).toEqual({ question: '0 + 1?', answer: 1, tags: ['sum'] });
  });

  it('a template, whatever language its columns are named in', async () => {
    const file = write(lines([1, 2].map((i) => ({ 问题: `${i} + 1?`, 'é-2': 3 }))));
    const template = '{问题} {é-2} {{问题}}';
    const { task } = await load(file, { heldout: { share: 0.5 }, template });
    const [problem] = await task.problems('train', 0, 0, 1);
    expect(problem!.prompt).toMatch(/^[12] \+ 1\? 3 \{问题\}$/);
  });

  it('a chat: with a system message, by `format`, or as it stands', async () => {
    const user = { role: 'user', content: 'hi' };
    const system = { role: 'system', content: 'Be brief.' };
    const promptOf = async (prompt: unknown, changes: object) =>
      (await all(write(lines([{ prompt }])), changes))[0]!.prompt;
    expect(await promptOf('hi', {})).toBe('hi');
    expect(await promptOf('hi', { format: 'chat' })).toEqual([user]);
    expect(await promptOf('hi', { system: 'Be brief.' })).toEqual([system, user]);
    expect(await promptOf([user], {})).toEqual([user]);
    expect(await promptOf([user], { system: 'Be brief.' })).toEqual([system, user]);
  });

  it('a chat whose contents are in parts', async () => {
    const parts = [
      { type: 'text', text: 'What is ' },
      { type: 'text', text: '1 + 1?' },
    ];
    const [problem] = await all(write(lines([{ prompt: [{ role: 'user', content: parts }] }])));
    expect(problem!.prompt).toEqual([{ role: 'user', content: 'What is 1 + 1?' }]);
    const image = [{ role: 'user', content: [...parts, { type: 'image', url: 'x' }] }];
    expect(await causes(write(lines([{ prompt: image }])))).toContain(
      'column "prompt", message 1, part 3 is of type "image"; models here read text',
    );
  });

  it('a column within another, by its path', async () => {
    const row = {
      prompt: 'p',
      'a.b': 1,
      reward_model: { ground_truth: '2', style: { name: 'rule' } },
      extra_info: { question: 'q?' },
    };
    const changes = {
      template: '{extra_info.question}',
      rename: { 'reward_model.ground_truth': 'answer' },
      columns: ['answer', 'a.b', 'reward_model.style.name'],
      heldout: { file: write(lines([{ ...row, extra_info: { question: 'held out' } }])) },
    };
    expect(await all(write(lines([row])), changes)).toEqual([
      {
        id: 'train-1',
        prompt: 'q?',
        columns: { answer: '2', 'a.b': 1, 'reward_model.style.name': 'rule' },
      },
    ]);
    expect(await causes(write(lines([row])), { columns: ['reward_model.truth'] })).toContain(
      'there is no "reward_model.truth": column "reward_model" holds ground_truth, style',
    );
  });

  it('other names, and only the columns that are wanted', async () => {
    const changes = {
      prompt: 'q',
      rename: { question: 'q', answer: 'solution' },
      columns: ['solution'],
    };
    expect(await all(write(lines(sums(1))), changes)).toEqual([
      { id: 'train-1', prompt: '0 + 1?', columns: { solution: 1 } },
    ]);
  });
});

describe('a file', () => {
  it('may begin with a byte order mark, have CRLF, blank lines and no last newline', async () => {
    const text = '\ufeff{"prompt":"a"}\r\n\r\n  \n{"prompt":"b\u2028c"}\n{"prompt":"d"}';
    const problems = await all(write(text));
    const prompts = problems.map(({ id, prompt }) => `${id} ${prompt}`).sort();
    expect(prompts).toEqual(['train-1 a', 'train-4 b\u2028c', 'train-5 d']);
  });

  it('is read as it comes, also where lines are longer than what is read at once', async () => {
    const rows = ['x'.repeat(200_000), 'é'.repeat(70_000), 'short'].map((prompt) => ({ prompt }));
    const file = join(folder, write(lines(rows)));
    const read: string[] = [];
    for await (const { bytes } of linesOf(file)) read.push(JSON.parse(bytes.toString()).prompt);
    expect(read).toEqual(rows.map(({ prompt }) => prompt));
  });

  it('may be gzipped', async () => {
    const name = `${files++}.jsonl.gz`;
    writeFileSync(join(folder, name), gzipSync(lines(sums(3))));
    expect(await all(name, { prompt: 'question' })).toHaveLength(3);
    const broken = `${files++}.jsonl.gz`;
    writeFileSync(join(folder, broken), gzipSync(lines(sums(500))).subarray(0, 200));
    expect(await causes(broken)).toContain(`${join(folder, broken)} can't be unzipped`);
  });

  it('that is one JSON array is named, with what to do', async () => {
    const message = await causes(write(`\n ${JSON.stringify(sums(3), null, 2)}`));
    expect(message).toMatch(/^the data can't be used\n/);
    expect(message).toContain(
      "is a JSON array, and one JSON object in each line is read: write it with `jq -c '.[]'`",
    );
  });

  it('keeps integers exactly, or refuses them', async () => {
    const kept = ['9007199254740991', '-9007199254740991', '1e30', '0.1234567890123456789'];
    for (const number of kept) {
      const [problem] = await all(write(`{"prompt": "a", "x": ${number}}\n`));
      expect(problem!.columns).toEqual({ x: Number(number) });
    }
    const text = '12345678901234567890';
    const [problem] = await all(write(`{"prompt": "at ${text} \\" ${text}", "x": "${text}"}\n`));
    expect(problem).toMatchObject({ prompt: `at ${text} " ${text}`, columns: { x: text } });
    for (const [row, digits] of [
      ['{"prompt": "a", "x": 12345678901234567890}', '12345678901234567890'],
      ['{"prompt": "a", "x": {"y": [-9007199254740993]}}', '-9007199254740993'],
      ['{"prompt": "a", "x": 9007199254740992}', '9007199254740992'],
    ] as const) {
      expect(await causes(write(`${row}\n`))).toContain(
        `column "x" holds the integer ${digits}, which numbers can't hold exactly (from 2^53 ` +
          `on); write it as text: "${digits}"`,
      );
    }
  });

  it('keeps large numbers with a point or an exponent as doubles print, or refuses them', async () => {
    const kept = [
      '0.1',
      '1e300',
      '1.5e20',
      '1.2345678901234568e+20',
      '9007199254740992.0',
      '4.0e15',
    ];
    const long = [
      '123456789012345683968.0',
      '90071992547409910e-1',
      '0.00000000000000000001',
      '0e99',
      '1.00000000000000000000',
    ];
    for (const number of [...kept, ...long]) {
      const [problem] = await all(write(`{"prompt": "a", "x": ${number}}\n`));
      expect(problem!.columns).toEqual({ x: Number(number) });
    }
    const rounded = ['9007199254740993.0', '9007199254740993e0', '12345678901234567890E2'];
    const mixed = [
      '1.2345678901234567890123e20',
      '-12345678.90123456789e20',
      '90071992547409930E-1',
    ];
    for (const number of [...rounded, ...mixed]) {
      expect(await causes(write(`{"prompt": "a", "x": [${number}]}\n`))).toContain(
        `column "x" holds the number ${number}, which numbers can't hold exactly (from 2^53 ` +
          `on); write it as text: "${number}"`,
      );
    }
    const odd = '\ufdd0 12345678901234567890';
    const [problem] = await all(write(`${lines([{ prompt: 'a', x: odd, y: '\ufdd0' }])}`));
    expect(problem!.columns).toEqual({ x: odd, y: '\ufdd0' });
  });

  it.each<[string | Buffer, string]>([
    ['{"prompt": "a"', 'line 2: not JSON (Expected'],
    ['[1]', 'line 2: an array, not an object of columns'],
    ['{"promt": "a"}', 'line 2: there is no column "prompt"; did you mean "promt"?'],
    ['{"prompt": 3}', 'line 2: column "prompt" is a number, not text or chat messages'],
    ['{"prompt": "  "}', 'line 2: the prompt is blank'],
    ['{"prompt": []}', 'line 2: column "prompt" holds no messages'],
    ['{"prompt": ["a"]}', 'line 2: column "prompt", message 1 is text, not {role, content}'],
    [
      '{"prompt": [{"role": "user"}]}',
      'line 2: column "prompt", message 1: content is missing, not text',
    ],
    ['{"prompt": [{"role": 1, "content": "a"}]}', 'message 1: role is a number, not text'],
    ['{"prompt": [{"role": "user", "content": ""}]}', 'message 1: content is blank'],
    [
      '{"prompt": "a", "x": 1e999}',
      'line 2: column "x" holds a number beyond the range of doubles',
    ],
    ['{"prompt": "a\\ud800"}', 'line 2: column "prompt" holds half of a surrogate pair'],
    [Buffer.from([0x7b, 0xff, 0x7d]), 'line 2: not UTF-8'],
    ['{"prompt": "first"}', 'line 2: the same problem as line 1'],
  ])('with the line %s is one clear error', async (line, expected) => {
    const file = write(Buffer.concat([Buffer.from('{"prompt": "first"}\n'), Buffer.from(line)]));
    const message = await causes(file);
    expect(message).toContain(expected);
    expect(message).toContain(
      `${join(folder, file)} has 1 row that gives no problem; mend them, or set ` +
        'task.bad_lines: drop',
    );
  });

  it('loses its bad lines by `bad_lines: drop`, counted and said', async () => {
    const file = write(`${lines(sums(8))}{"question": 1}\nnonsense\n`);
    const { task, log } = await load(file, {
      prompt: 'question',
      bad_lines: 'drop',
      heldout: { share: 0.25 },
    });
    expect(log[0]).toMatch(
      /^task: dropped 2 of 10 rows of .*: line 9: column "question" is a number.*; line 10: not JSON/,
    );
    expect(log[1]).toBe(`task: 6 problems to train on, 2 held out, from ${file}`);
    expect(new Set((await task.problems('train', 0, 0, 12)).map(({ id }) => id)).size).toBe(6);
  });

  it('names the first bad lines and counts the rest', async () => {
    const message = await causes(write('x\n'.repeat(9)));
    expect(message).toContain('has 9 rows that give no problem');
    expect(message.match(/line \d: not JSON/g)).toHaveLength(5);
    expect(message).toContain('... and 4 more');
  });

  it('that is not there, is empty, or has bad lines alone is an error', async () => {
    expect(await causes('none.jsonl')).toContain(
      `task.file: there is no file ${join(folder, 'none.jsonl')}`,
    );
    expect(await causes(large, { prompt: 'question', heldout: { file: 'no.jsonl' } })).toContain(
      'task.heldout.file: there is no file',
    );
    expect(await causes(write(''))).toContain('gives no problems, it is empty');
    expect(await causes(write('x\n'), { bad_lines: 'drop' })).toContain(
      'gives no problems: all 1 rows were dropped',
    );
    expect(await causes(write('{"prompt": "one"}'))).toContain(
      "task.heldout: 1 different prompts can't be split in two",
    );
  });
});

describe('what is held out', () => {
  it('is a share that does not depend on the run’s seed, with equal prompts on one side', async () => {
    const twice = write(lines([...sums(40), ...sums(40).map((row) => ({ ...row, answer: 0 }))]));
    const { task } = await load(twice, { prompt: 'question', heldout: { share: 0.25 } });
    const sides = await Promise.all(
      [0, 1].map(async (seed) =>
        (await task.problems('heldout', seed, 0, 20)).map(({ id }) => id).sort(),
      ),
    );
    expect(new Set(sides[0]).size).toBe(20);
    expect(sides[1]).toEqual(sides[0]);
    const train = (await task.problems('train', 0, 0, 60)).map(({ prompt }) => prompt);
    const held = (await task.problems('heldout', 0, 0, 20)).map(({ prompt }) => prompt);
    expect(train.filter((prompt) => held.includes(prompt))).toEqual([]);
  });

  it('is told of where it is trained on, too', async () => {
    const { log } = await load(large, {
      prompt: 'question',
      heldout: { file: write(lines(sums(3))) },
    });
    expect(log[0]).toBe('task: 3 of 3 held-out problems have a prompt that is trained on, too');
  });
});

it.each([
  [{ prompt: 'a', template: '{a}' }, 'task.prompt: "a": has no effect with `template`'],
  [{ system: 'a', format: 'text' }, 'task.format: "text": a system message needs `format: chat`'],
  [
    { heldout: { file: 'x', share: 0.1 } },
    'task.heldout.share: 0.1: has no effect with heldout.file',
  ],
  [{ heldout: { share: 1 } }, 'task.heldout.share: 1: Too big'],
  [{ bad_lines: 'dorp' }, 'did you mean "drop"?'],
  [{ fiel: 'x' }, 'task.fiel: no such option; did you mean "file"?'],
  [
    { template: '{nothing}' },
    'line 1: there is no column "nothing"; there are: question, answer, tags',
  ],
  [
    { template: 'What is it?' },
    'task.template: "What is it?": names no column, such as {question}',
  ],
  [{ template: '{tags}' }, 'column "tags" of the template is an array, not text or a number'],
  [
    { prompt: 'question', columns: ['anser'] },
    'there is no column "anser"; did you mean "answer"?',
  ],
  [
    { prompt: 'question', rename: { answer: 'tags' } },
    '`rename` gives two columns the name "tags"',
  ],
])('%j is one clear error', async (changes, expected) => {
  expect(await causes(large, changes)).toContain(expected);
});

describe('rows of any size and shape', () => {
  const row = (text: string) => rowOfLine(Buffer.from(text));

  it('a text of millions of escapes is read, and large integers after it are found', () => {
    const text = `"${'\\n\\"'.repeat(3e6)}"`;
    expect((row(`{"a": ${text}, "n": 1234567890123456}`).a as string).length).toBe(6e6);
    expect(() => row(`{"a": ${text}, "n": 12345678901234567}`)).toThrow(
      'column "n" holds the integer',
    );
  });

  it.each([
    ['{"a": "12345678901234567", "b": -1.5e3}', { a: '12345678901234567', b: -1500 }],
    ['{"12345678901234567\\\\": [1234567890123456, "\\"12345678901234567"]}', null],
  ])('digits within text are text: %s', (text, expected) => {
    expect(row(text)).toEqual(expected ?? JSON.parse(text));
  });

  it('values that lie too deep within each other are refused', () => {
    const deep = `{"a": ${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
    expect(() => row(deep)).toThrow('column "a" holds values within each other, 100 deep and more');
  });
});
