import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import huggingface from '../../plugins/tasks/huggingface.ts';
import { bareEnvironment } from '../../src/extensions/find-plugin.ts';
import { findPython } from '../../src/workers/python.ts';
import { taskConformance } from '../conformance/task.ts';
import { type PythonTasks, pythonTasks } from './python-task.ts';

const folder = mkdtempSync(join(tmpdir(), 'genac-hub-'));
const cache = { HF_HOME: join(folder, 'cache'), HF_HUB_OFFLINE: '1' };
let tasks: PythonTasks;

const make = `
import datasets, datetime, sys
datasets.disable_progress_bars()
def rows(n, start=0):
    return {"question": [f"{i} + 1?" for i in range(start, start + n)], "answer": list(range(start + 1, start + n + 1)),
            "asked": [datetime.date(2024, 1, 1)] * n}
train, test = datasets.Dataset.from_dict(rows(60)), datasets.Dataset.from_dict(rows(50, 1000))
train.to_parquet("folder/train.parquet"); test.to_parquet("folder/test.parquet")
datasets.DatasetDict({"train": train, "test": test}).save_to_disk("saved")
train.to_csv("rows.csv"); train.to_json("rows.jsonl"); test.to_json("test.jsonl")
datasets.Dataset.from_dict({"question": ["a", None, " ", "b"], "score": [1.0, 2.0, 3.0, float("nan")]}).to_parquet("holes.parquet")
datasets.Dataset.from_dict({"prompt": ["a", "b"], "picture": [b"x", b"y"]}).to_parquet("bytes.parquet")
datasets.Dataset.from_dict({"prompt": [[{"role": "user", "content": f"hi {i}"}] for i in range(3)]}).to_parquet("chat.parquet")
verl = datasets.Dataset.from_dict({"prompt": [f"{i}?" for i in range(24)], "data_source": ["m"] * 24,
    "reward_model": [{"ground_truth": str(i), "style": "rule"} for i in range(24)]})
verl.to_parquet("verl.parquet"); verl.to_json("verl.jsonl")
`;

beforeAll(async () => {
  mkdirSync(join(folder, 'folder'));
  mkdirSync(join(folder, 'empty'));
  writeFileSync(join(folder, 'broken.jsonl'), '{"prompt": "a"}\n{"prompt":\n');
  execFileSync(findPython(), ['-c', make], { cwd: folder, env: { ...process.env, ...cache } });
  tasks = await pythonTasks(folder, cache);
}, 60_000);
afterAll(async () => {
  await tasks?.close();
  rmSync(folder, { recursive: true });
});

const use = 'huggingface';
const given = { use, data: './folder', prompt: 'question' };
const test = { split: 'test' };
const load = async (choice: object) => (await tasks.load({ ...given, ...choice })).task;

taskConformance('huggingface', () => load({ heldout: test }));
taskConformance('huggingface, a share held out', () => load({ heldout: { share: 0.25 } }));
// `datasets` waits 5 s wherever it leaves a stream of parquet: the other streams are JSON lines.
const streamed = { data: 'rows.jsonl', streaming: true, heldout: { data: 'test.jsonl' } };
taskConformance('huggingface, streamed', () => load(streamed));
taskConformance('huggingface, streamed, a share held out', () =>
  load({ ...streamed, shuffle_buffer: 16, heldout: { share: 0.25 } }),
);

describe('rows', () => {
  it.each([false, true])(
    "of verl's layout give what lies within a column (streaming: %s)",
    async (streaming) => {
      const changes = {
        ...{ data: streaming ? 'verl.jsonl' : 'verl.parquet', streaming, prompt: 'prompt' },
        heldout: { share: 0.25 },
        rename: { 'reward_model.ground_truth': 'answer' },
        columns: ['answer', 'reward_model.style'],
      };
      const problems = await (await load(changes)).problems('train', 0, 0, 3);
      for (const { prompt, columns } of problems)
        expect(columns).toEqual({
          answer: (prompt as string).slice(0, -1),
          'reward_model.style': 'rule',
        });
      const within = { rename: { reward_model: 'judge' }, columns: ['judge.ground_truth'] };
      const [first] = await (await load({ ...changes, ...within })).problems('train', 0, 0, 1);
      const answer = (first!.prompt as string).slice(0, -1);
      expect(first!.columns).toEqual({ 'judge.ground_truth': answer });
      const wrong = load({ ...changes, rename: {}, columns: ['reward_modl.style'] });
      await expect(wrong).rejects.toThrow('has no column "reward_modl.style"');
    },
  );

  it.each([
    './folder',
    './saved',
    'rows.csv',
    'rows.jsonl',
    ['rows.jsonl'],
    './folder/tr*.parquet',
  ])('of %j are problems, whatever they are read from', async (data) => {
    const task = await load({ data, columns: ['answer'] });
    const [problem] = await task.problems('train', 0, 0, 1);
    const n = Number(problem!.id.replace('train-', ''));
    expect(problem).toEqual({ id: `train-${n}`, prompt: `${n} + 1?`, columns: { answer: n + 1 } });
  });

  it('come once in each epoch, by the number of the row', async () => {
    const task = await load({ heldout: test });
    const ids = (await task.problems('train', 5, 60, 60)).map(({ id }) => id);
    expect(new Set(ids)).toEqual(new Set(Array.from({ length: 60 }, (_, i) => `train-${i}`)));
    expect((await task.problems('heldout', 5, 0, 1))[0]!.prompt).toMatch(/^10\d\d \+ 1\?$/);
  });

  it('have dates as text, other names, and chats as they stand', async () => {
    const template = '{text} By {asked}.';
    const task = await load({
      prompt: undefined,
      rename: { question: 'text' },
      template,
      system: 'Add.',
    });
    const [problem] = await task.problems('train', 0, 0, 1);
    const n = Number(problem!.id.replace('train-', ''));
    expect(problem!.prompt).toEqual([
      { role: 'system', content: 'Add.' },
      { role: 'user', content: `${n} + 1? By 2024-01-01.` },
    ]);
    expect(problem!.columns).toEqual({ text: `${n} + 1?`, answer: n + 1, asked: '2024-01-01' });
    const chat = await load({ data: 'chat.parquet', prompt: undefined, heldout: { share: 0.4 } });
    const problems = await chat.problems('train', 0, 0, 2);
    expect(problems.map(({ prompt }) => prompt)).toContainEqual([
      { role: 'user', content: expect.stringMatching(/^hi \d$/) },
    ]);
  });

  it('that are held out and trained on, too, are told of', async () => {
    const { log } = await tasks.load({ ...given, heldout: { data: 'rows.csv' } });
    expect(log[0]).toBe('task: 60 of 60 held-out problems have a prompt that is trained on, too');
  });

  it('that give no problem are an error, or dropped, counted and said', async () => {
    const holes = { ...given, data: 'holes.parquet', columns: [], heldout: { share: 0.5 } };
    const message = await tasks.failure(holes);
    expect(message).toContain(
      'holes.parquet (train) has 2 rows that give no problem; mend them, or set ' +
        'task.bad_rows: drop',
    );
    expect(message).toContain('row 1: column "question" is null, not text or chat messages');
    expect(message).toContain('row 2: the prompt is blank');
    const { log } = await tasks.load({ ...holes, bad_rows: 'drop' });
    expect(log[0]).toContain('dropped 2 of 4 rows of holes.parquet (train): row 1: ');
    expect(log[1]).toBe('task: 1 problems to train on, 1 held out, from holes.parquet (train)');
  });

  it('with a value that JSON has no word for give no problem, whatever column it is in', async () => {
    const holes = { ...given, data: 'holes.parquet', heldout: { data: 'rows.csv' } };
    const message = await tasks.failure(holes);
    expect(message).toContain('has 3 rows that give no problem');
    expect(message).toContain("row 3: column 'score' is nan");
    const { task, log } = await tasks.load({ ...holes, bad_rows: 'drop' });
    expect(log[0]).toContain('dropped 3 of 4 rows');
    const problems = await task.problems('train', 0, 0, 2);
    expect(problems.map(({ id, columns }) => [id, columns.score])).toEqual([
      ['train-0', 1],
      ['train-0', 1],
    ]);
  });

  it('of a stream with such a value are dropped', async () => {
    const holes = {
      ...{ data: 'holes.parquet', streaming: true, shuffle_buffer: null },
      heldout: { data: 'rows.csv' },
    };
    const task = await load({ ...holes, bad_rows: 'drop' });
    const prompts = (await task.problems('train', 0, 0, 2)).map(({ prompt }) => prompt);
    expect(prompts).toEqual(['a', 'a']);
  });
});

describe('a stream', () => {
  it('is read from parquet, too', async () => {
    const task = await load({ streaming: true, shuffle_buffer: null, heldout: test });
    expect((await task.problems('train', 0, 2, 1))[0]!.prompt).toBe('2 + 1?');
  });

  it('is shuffled by the run’s seed, each epoch anew, and can be entered anywhere', async () => {
    const choice = { ...streamed, shuffle_buffer: 16 };
    const task = await load(choice);
    const all = await task.problems('train', 1, 0, 120);
    const promptsOf = (problems: typeof all) => problems.map(({ prompt }) => prompt);
    const [first, second] = [promptsOf(all.slice(0, 60)), promptsOf(all.slice(60))];
    expect(new Set(first).size).toBe(60);
    expect(new Set(second)).toEqual(new Set(first));
    expect(second).not.toEqual(first);
    expect(promptsOf(await task.problems('train', 2, 0, 60))).not.toEqual(first);
    expect(await (await load(choice)).problems('train', 1, 70, 20)).toEqual(all.slice(70, 90));
    expect(await task.problems('train', 1, 3, 5)).toEqual(all.slice(3, 8));
  });

  it('keeps the data’s order without a buffer, and goes back beyond what it keeps', async () => {
    const task = await load({ ...streamed, shuffle_buffer: null });
    const expected = (n: number) => `${n % 60} + 1?`;
    for (const from of [0, 3000, 1200, 59, 3000]) {
      const problems = await task.problems('train', 0, from, 3);
      expect(problems.map(({ prompt }) => prompt)).toEqual(
        [from, from + 1, from + 2].map(expected),
      );
    }
  });

  it('with bad rows stops there, or drops them and says so', async () => {
    const holes = {
      data: 'holes.parquet',
      columns: [],
      streaming: true,
      shuffle_buffer: null,
      heldout: { data: 'rows.csv' },
    };
    const task = await load(holes);
    await expect(task.problems('train', 0, 0, 1)).rejects.toThrow(
      'row 1 of epoch 0: column "question" is null',
    );
    const { task: dropping, log } = await tasks.load({ ...given, ...holes, bad_rows: 'drop' });
    expect((await dropping.problems('train', 0, 0, 3)).map(({ prompt }) => prompt)).toEqual([
      'a',
      'b',
      'a',
    ]);
    expect(log[0]).toContain(
      'task: dropped 1 rows of holes.parquet (train) so far, the last: row 1 of epoch 0',
    );
  });

  it('without a problem for a split is an error, not an endless search', async () => {
    const none = { ...streamed, heldout: { share: 0.000001 } };
    const task = await load(none);
    await expect(task.problems('heldout', 0, 0, 1)).rejects.toThrow(
      'gives no problems for "heldout"',
    );
  });
});

it.each([
  [
    { data: 'none/such-set' },
    /'none\/such-set' can't be loaded: .*the Hub.*; check the name and the network, or name a local folder/,
  ],
  [{ data: './nowhere' }, /task\.data: there is no file or folder .*nowhere/],
  [{ data: 'no.parquet' }, /task\.data: there is no file or folder .*no\.parquet/],
  [{ heldout: { data: './no' } }, /task\.heldout\.data: there is no file or folder/],
  [{ data: './empty' }, /empty' can't be loaded: /],
  [{ data: 'broken.jsonl' }, /broken\.jsonl' can't be loaded: .*JSON/],
  [
    { data: ['rows.csv', 'rows.jsonl'] },
    /files that end with \['\.csv', '\.jsonl'\] can't be read/,
  ],
  [{ split: 'validation' }, /Unknown split "validation"/],
  [
    { data: './saved', split: 'validation' },
    /has no split 'validation'; it has \['test', 'train'\]/,
  ],
  [
    { prompt: 'qestion' },
    /\.\/folder \(train\) has no column "qestion"; did you mean "question"\?/,
  ],
  [{ columns: ['solution'] }, /has no column "solution"; it has: question, answer, asked/],
  [{ rename: { q: 'question' } }, /has no column "q"/],
  [
    { data: 'bytes.parquet', prompt: 'prompt' },
    /column "picture" of bytes\.parquet \(train\) holds binary, which is not plain JSON/,
  ],
  [{ shuffle_buffer: 5 }, /task\.shuffle_buffer: 5: has no effect without `streaming: true`/],
  [
    { heldout: { split: 'test', share: 0.1 } },
    /task\.heldout\.share: 0\.1: has no effect with heldout\.split/,
  ],
])('%j is one clear error', async (changes, expected) => {
  const message = await tasks.failure({ ...given, ...changes });
  expect(message).toMatch(expected);
  expect(message).not.toContain('Traceback');
});

it('has no problems before `prepare`', async () => {
  const options = huggingface.options.parse({ data: folder });
  const task = await huggingface.create(options, bareEnvironment(folder));
  expect(() => task.problems('train', 0, 0, 1)).toThrow('no problems before `prepare`');
});
