import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { successRates } from '../../plugins/tasks/logged/success-rate.ts';
import { loadTask } from '../../src/extensions/find-plugin.ts';
import type { Rollout, Task } from '../../src/task.ts';
import type { Segmentation } from '../../src/text/segment.ts';
import { prefixesOfText } from '../../src/text/segment-text.ts';
import { taskConformance } from '../conformance/task.ts';

const folder = mkdtempSync(join(tmpdir(), 'genac-logged-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
const lines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
function write(rows: readonly unknown[] | string): string {
  const name = `${files++}.jsonl`;
  writeFileSync(join(folder, name), typeof rows === 'string' ? rows : lines(rows));
  return name;
}

/** Two rollouts of each of ten problems; the second of each earns 1. */
const usual = Array.from({ length: 20 }, (_, i) => ({
  prompt: `${i >> 1} + 1?`,
  response: `Let me see. It is\n${(i >> 1) + (i % 2)}`,
  reward: i % 2,
}));
const log: string[] = [];

async function load(
  rows: readonly unknown[] | string,
  options: object = {},
  segmentation: Segmentation | null = null,
): Promise<Task> {
  log.length = 0;
  const call = () => Promise.reject(new Error('no Python here'));
  const environment = {
    base: folder,
    python: { call },
    log: (text: string) => void log.push(text),
    segmentation,
  };
  return (await loadTask({ use: 'logged', file: write(rows), ...options }, environment)).task;
}
/** Every rollout of both sides, once. */
async function rolloutsOf(rows: readonly unknown[], options: object = {}): Promise<Rollout[]> {
  const task = await load(rows, options);
  const [, train, held] = /: (\d+) rollouts .* learn from, (\d+) of/.exec(log.join())!;
  return [
    ...task.frozenRollouts!('train', 0, 0, Number(train)),
    ...task.frozenRollouts!('heldout', 0, 0, Number(held)),
  ];
}
const causes = (
  rows: readonly unknown[] | string,
  options: object = {},
  segmentation: Segmentation | null = null,
) =>
  load(rows, options, segmentation).then(
    () => 'it did not fail',
    (error: Error) => error.message,
  );

taskConformance('logged', () => load(usual));

describe('logged rollouts', () => {
  it('come once in each epoch, held out by problem, in an order of the seed', async () => {
    const task = await load(usual, { heldout: { share: 0.2 } });
    expect(log).toEqual([
      'task: 16 rollouts of 8 problems to learn from, 4 of 2 held out, from 1.jsonl'.replace(
        '1.jsonl',
        `${files - 1}.jsonl`,
      ),
    ]);
    const train = task.frozenRollouts!('train', 0, 0, 16);
    expect(
      new Set(train.map(({ problem, response }) => `${problem.prompt} ${response}`)).size,
    ).toBe(16);
    const trained = new Set(train.map(({ problem }) => problem.prompt));
    for (const { problem } of task.frozenRollouts!('heldout', 0, 0, 4))
      expect(trained.has(problem.prompt)).toBe(false);
    expect(task.frozenRollouts!('train', 0, 5, 3)).toEqual(train.slice(5, 8));
    expect(task.frozenRollouts!('train', 1, 0, 16)).not.toEqual(train);
  });

  it('tell of held-out problems, not rollouts, whose prompt is trained on', async () => {
    // Two ids for each prompt.
    const rows = usual.flatMap((row, i) =>
      ['a', 'b'].map((half) => ({ ...row, id: `${i >> 1}${half}` })),
    );
    await load(rows, { columns: { problem: 'id' }, heldout: { share: 0.2 } });
    const [, leaked, of] = /: (\d+) of (\d+) held-out problems have a prompt/.exec(log[0]!)!;
    const [, held] = / \d+ of (\d+) held out/.exec(log[1]!)!;
    expect(of).toBe(held);
    expect(Number(leaked)).toBeLessThanOrEqual(Number(held));
  });

  it('are cut by the config’s rule, by sentence and line without one', async () => {
    const cut = async (segmentation: Segmentation | null) =>
      (await load(usual, {}, segmentation)).frozenRollouts!('train', 0, 0, 1)[0]!.prefixes;
    expect(await cut(null)).toEqual(['', 'Let me see.', 'Let me see. It is\n']);
    expect(await cut({ by: 'line', max_segments: 16, min_tokens: 1 })).toEqual([
      '',
      'Let me see. It is\n',
    ]);
    expect(await cut({ by: 'pattern', pattern: ' ', max_segments: 3, min_tokens: 1 })).toEqual([
      '',
      'Let ',
      'Let me ',
    ]);
    for (const by of ['tokens', 'low-probability'] as const) {
      const rule = {
        by,
        tokens: 4,
        probability: 0.5,
        max_segments: 16,
        min_tokens: 1,
      } as Segmentation;
      expect(await causes(usual, {}, rule)).toContain(`credit.segmentation: by: ${by} needs`);
    }
  });

  it('carry the actor that the log or the config names', async () => {
    const rows = usual.map((row, i) => ({
      ...row,
      ...(i < 10 && { actor: 'a', parameters: 7e9, success_rate: 0.25 }),
    }));
    const profiles = new Set(
      (await rolloutsOf(rows, { actor: { name: 'b', parameters: 5 } })).map(({ actor }) =>
        JSON.stringify(actor),
      ),
    );
    expect(profiles).toContain('{"name":"a","parameters":7000000000,"successRate":0.25}');
    expect(profiles).toContain('{"name":"b","parameters":5,"successRate":0.5}');
  });

  it('are read as TRL writes them', async () => {
    const rows = usual.map(({ prompt, response, reward }) => ({
      step: 1,
      prompt: [{ role: 'user', content: prompt }],
      completion: [{ role: 'assistant', content: response }],
      accuracy: reward,
      format: 1,
      advantage: -0.3,
    }));
    expect(await causes(rows, { layout: 'trl' })).toContain(
      'task.columns.reward: missing: TRL names a column after each reward function',
    );
    const read = await rolloutsOf(rows, {
      layout: 'trl',
      columns: { reward: ['accuracy', 'format'] },
    });
    expect(read.map(({ reward }) => reward).sort()).toEqual(
      usual.map((_, i) => (i < 10 ? 0.5 : 1)),
    );
    expect(read[0]!.problem).toMatchObject({
      prompt: [{ role: 'user' }],
      columns: { advantage: -0.3 },
    });
    expect(read[0]!.response).toMatch(/^Let me see/);
  });

  it('are read as verl writes them: a folder of a file for each step', async () => {
    const dump = join(folder, 'dump');
    mkdirSync(dump);
    for (const step of [1, 2, 10]) {
      const rows = usual.map(({ prompt, response, reward }) => ({
        input: prompt,
        output: response,
        gts: '3',
        score: step === 1 ? -1 : 2 * reward - 1,
        step,
        acc: true,
      }));
      writeFileSync(join(dump, `${step}.jsonl`), lines(rows));
    }
    const options = { layout: 'verl', file: 'dump', rescale: [-1, 1], momentum: 0.5 };
    const task = await load([], options);
    expect(log.join()).toMatch(/54 rollouts of 9 problems/);
    const rates = task.frozenRollouts!('train', 0, 0, 54).map(({ actor }) => actor.successRate);
    // Step 1 fails all, 2 half; at 10 the rate is 0.5 x 0 + 0.5 x 0.5.
    expect([...new Set(rates)].sort()).toEqual([0, 0.25]);
    expect((await task.problems('train', 0, 0, 1))[0]!.columns).toEqual({ gts: '3', acc: true });
  });

  it('are read as GenAC writes trajectories', async () => {
    const segment = { text: '3', tokens: 1, value: 0.5 };
    const rows = usual.map((row, i) => ({
      iteration: i % 2,
      problem: `train-${i >> 1}`,
      ...row,
      finish_reason: 'length',
      segments: [segment],
    }));
    const read = await rolloutsOf(rows, { columns: { step: 'iteration' } });
    expect(read.map(({ problem }) => problem.id)).toContain('train-9');
    // At iteration 1 the rate is that of iteration 0, in which all failed.
    expect(
      new Set(read.filter(({ reward }) => reward === 1).map(({ actor }) => actor.successRate)),
    ).toEqual(new Set([0]));
  });

  it('name the line that is wrong', async () => {
    const wrong = (row: object, options = {}) => causes([...usual, row], options);
    expect(await wrong({ ...usual[0], reward: 1.5 })).toContain(
      'line 21: the reward 1.5 is outside [0, 1]; say the range of the rewards in ' +
        'task.rescale: [lowest, highest]',
    );
    expect(await wrong({ ...usual[0], reward: 3 }, { rescale: [-1, 1] })).toContain(
      'line 21: the reward 3 is outside [-1, 1]; mend task.rescale',
    );
    expect(await wrong({ prompt: 'p', reward: 1 })).toContain(
      'line 21: there is no column "response"; there are: prompt, reward',
    );
    expect(await wrong({ ...usual[0], reward: 'good' })).toContain(
      'line 21: column "reward" is text, not a number',
    );
    expect(await wrong({ ...usual[0], success_rate: 2 })).toContain(
      'line 21: column "success_rate" is 2, outside [0, 1]',
    );
    expect(await wrong({ ...usual[0], step: 3 })).toContain('has a step in 1 rows and none in 20');
    expect(await causes(usual, { columns: { actor: 'model' } })).toContain(
      'there is no column "model"',
    );
    expect(await causes('{"prompt": 3\n')).toContain('line 1: not JSON');
    expect(await causes(usual.slice(0, 2))).toContain('log responses to more problems');
    expect(await causes(usual, { file: 'nowhere' })).toContain(
      'task.file: there is no file or folder',
    );
    expect(await causes(usual, { bad_lines: 'drop' })).toBe('it did not fail');
    await load([...usual, { prompt: 'p' }], { bad_lines: 'drop' });
    expect(log.join()).toContain('dropped 1 of 21 rows');
  });
});

describe('the success rate of a logged actor', () => {
  const rollout = (problem: string, reward: number, step: number | null = null, actor = 'a') => ({
    problem,
    reward,
    step,
    actor,
  });

  it('without steps is the mean of its responses to other problems', () => {
    const rollouts = [
      rollout('p', 1),
      rollout('p', 0),
      rollout('q', 1),
      rollout('r', 0),
      rollout('p', 1, null, 'b'),
    ];
    expect(successRates(rollouts, 0.8)).toEqual([0.5, 0.5, 1 / 3, 2 / 3, null]);
  });

  it('with steps is smoothed over those before, whatever the order of the lines', () => {
    const rollouts = [
      rollout('p', 0, 9),
      rollout('p', 1, 1),
      rollout('q', 0, 1),
      rollout('p', 1, 5),
      rollout('q', 1, 5),
    ];
    // Step 1: the other problem's. Step 5: mean(1, 0). Step 9: 0.8 x 0.5 + 0.2 x 1.
    expect(successRates(rollouts, 0.8)).toEqual([expect.closeTo(0.6, 12), 0, 1, 0.5, 0.5]);
  });
});

describe('text without tokens', () => {
  it('is cut at characters; a token of min_tokens counts as four', () => {
    const rule = { by: 'pattern', pattern: '\\.', max_segments: 16, min_tokens: 1 } as const;
    expect(prefixesOfText('a.b.😀.c', rule)).toEqual(['', 'a.', 'a.b.', 'a.b.😀.']);
    expect(prefixesOfText('a.b.😀.c', { ...rule, min_tokens: 2 })).toEqual(['']);
    expect(prefixesOfText('a.bcdefgh.c', { ...rule, min_tokens: 2 })).toEqual(['', 'a.bcdefgh.']);
    expect(prefixesOfText('', rule)).toEqual(['']);
  });
});
