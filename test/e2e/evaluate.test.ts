/** `genac evaluate`: several critics on the same states, kept, gone on with, under shift. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EvaluationInput } from '../../src/comparison/config.ts';
import { evaluate } from '../../src/comparison/evaluate.ts';
import { evaluationOfRuns } from '../../src/comparison/of-runs.ts';
import type { EvaluationResult } from '../../src/comparison/result.ts';
import { startRun } from '../../src/run/run.ts';
import { lockRun } from '../../src/run-folder/lock.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { answer, startServer } from '../api/server.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-evaluate-'));
let workers: WorkerGroup;
beforeAll(async () => {
  workers = await startWorkers({
    workers: [
      { name: 'actor', threads: 1 },
      { name: 'critic', threads: 1 },
    ],
  });
}, 120_000);
afterAll(() => workers?.close());

const input = (folder: string, changes: Partial<EvaluationInput> = {}): EvaluationInput => ({
  folder: join(scratch, folder),
  task: { use: join(root, 'test/fixtures/length-task.ts') },
  actor: { model: 'task:blank' },
  sampling: { max_new_tokens: 12 },
  segmentation: { by: 'tokens', tokens: 3 },
  ...{ prompts: 20, num_generations: 2, candidates: 4, continuations: 32, icc_rollouts: 8 },
  ...{ bootstrap: 100 },
  critics: {
    head: { use: 'value-head', model: 'task:blank' },
    mean: 'group-mean',
    mc: { use: 'monte-carlo', continuations: 64 },
  },
  ...changes,
});

async function told(given: EvaluationInput, signal?: AbortSignal) {
  const said: string[] = [];
  const log = (text: string) => void said.push(text);
  const result = await evaluate(given, { workers, log, ...(signal && { signal }) });
  return { result, said };
}

/** Without what depends on the machine's speed. */
const numbers = ({ distributions }: EvaluationResult) =>
  JSON.parse(
    JSON.stringify(distributions, (key, value) => (key === 'seconds' ? undefined : value)),
  );

describe('an evaluation', () => {
  let whole: EvaluationResult;
  it('measures critics on the same states, beside floors', async () => {
    const { result } = await told(input('whole'));
    whole = result;
    const { none } = result.distributions;
    expect(none).toMatchObject({ references: 'continuations', problems: 20, responses: 80 });
    const { critics } = none!;
    expect(Object.keys(critics)).toEqual(['head', 'mean', 'mc', '(constant)', '(position)']);
    // 64 other continuations are within their own noise of 32: p (1 - p) / 64 at most .004.
    expect(critics.mc!.figures.mse!.value).toBeLessThan(0.008);
    expect(critics.mc!.against!.mse!.value).toBeLessThan(0);
    // It knows the outcomes, and so is asked for no ranking of whole responses.
    expect(critics.mean!.figures.top1_of_2).toBeUndefined();
    expect(critics.head!.figures.top1_of_2!.n).toBeGreaterThan(0);
    expect(critics.mc!.cost!.written).toBeGreaterThan(64 * none!.states);
    expect(critics.head!.cost!.written).toBe(0);
    const [page, csv] = ['index.html', 'figures.csv'].map((name) =>
      readFileSync(join(scratch, 'whole', name), 'utf8'),
    );
    expect(page).toContain('What critics are worth');
    expect(page).not.toMatch(/src="http/);
    expect(csv!.split('\n').filter((line) => line.startsWith('none,mc,mse,'))).toHaveLength(1);
  }, 120_000);

  it('costs a further critic only itself, and is the same with it', async () => {
    const { use: _, ...critics } = { use: 0, ...input('').critics };
    const more = { ...critics, late: { use: 'monte-carlo', continuations: 2 } };
    const { result, said } = await told(input('whole', { critics: more }));
    expect(said.filter((line) => /sampling|states of/.test(line))).toEqual([
      'none: late: states of 16/20 problems',
      'none: late: states of 20/20 problems',
    ]);
    const { late, ...others } = numbers(result).none.critics;
    expect(late.figures.mse.n).toBeGreaterThan(0);
    expect(others).toEqual(numbers(whole).none.critics);
  }, 120_000);

  it('that was stopped goes on to the same numbers', async () => {
    const stopping = new AbortController();
    const given = input('stopped');
    const log = (text: string) => text === 'none: head: states of 16/20 problems' && stop();
    const stop = () => stopping.abort(new Error('stopped here'));
    await expect(evaluate(given, { workers, signal: stopping.signal, log })).rejects.toThrow(
      'stopped here',
    );
    expect(existsSync(join(scratch, 'stopped', 'evaluation.json'))).toBe(false);
    const { result, said } = await told(given);
    expect(said).not.toContain('none: sampling');
    expect(said).not.toContain('none: head: states of 16/20 problems');
    expect(numbers(result)).toEqual(numbers(whole));
  }, 120_000);

  it('refuses a folder in which another one works, and gives it back', async () => {
    const lock = await lockRun(join(scratch, 'whole'));
    await expect(told(input('whole'))).rejects.toThrow('wait for that evaluation');
    lock.release();
    await told(input('whole'));
    (await lockRun(join(scratch, 'whole'))).release();
  }, 120_000);

  it('says before its work what lies in the place of a result', async () => {
    mkdirSync(join(scratch, 'odd', 'index.html'), { recursive: true });
    await expect(told(input('odd'))).rejects.toThrow(/index.html can't be used: it is a folder/);
    expect(existsSync(join(scratch, 'odd', 'states'))).toBe(false);
  }, 120_000);

  it('measures no fallback where a limit of cost prevented answers, and keeps those', async () => {
    const server = await startServer();
    server.behave((response) => answer(response, 'right # 8 .'));
    const limited = (max_cost: number) =>
      input('limited', {
        ...{ prompts: 4, candidates: 0, continuations: 2 },
        critics: {
          asked: {
            ...{ use: 'api', model: 'm', base_url: server.url, api_key_env: null, max_cost },
            ...{ price: { input: 0, output: 1 }, max_tokens: 1000, concurrency: 1 },
          },
        },
      });
    // An answer costs 10e-6, and is begun if 1000e-6 more would be within the limit.
    await expect(told(limited(0.00104))).rejects.toThrow(
      /critics.asked: \d+ of \d+ states were not asked.*raise `max_cost`/,
    );
    const before = server.received.length;
    const { result } = await told(limited(1));
    await server.close();
    const { states, critics } = result.distributions.none!;
    expect(critics.asked!.figures.parse_rate!.value).toBe(1);
    expect(before).toBeGreaterThan(0);
    expect(server.received.length).toBeLessThan(before + states);
  }, 120_000);

  it('gives a critic of outcomes the rewards of group_size responses', async () => {
    const { candidates: _, ...given } = input('groups', { critics: { mean: 'group-mean' } });
    const { result } = await told({
      ...{ ...given, candidates: 0, group_size: 2 },
      shifts: { large: { group_size: 8 }, ranked: { candidates: 8 } },
    });
    const { none, large, ranked } = result.distributions;
    expect(none!.critics.mean!.figures).toEqual(whole.distributions.none!.critics.mean!.figures);
    expect(ranked!.critics.mean!.figures.mse).toEqual(none!.critics.mean!.figures.mse);
    const errors = [none!, large!].map(({ critics }) => critics.mean!.figures.mse!.value);
    expect(errors[1]).toBeLessThan(errors[0]!);
  }, 120_000);

  it('has a table for each shift', async () => {
    const { result } = await told(
      input('shifted', {
        references: 'outcomes',
        critics: { mean: 'group-mean', head: input('').critics.head! },
        candidates: 0,
        shifts: { short: { sampling: { max_new_tokens: 6 } } },
      }),
    );
    const { none, short } = result.distributions;
    expect(short!.states).toBeLessThan(none!.states);
    // Of one outcome an error is not known.
    expect(short!.critics.mean!.figures.mse).toBeUndefined();
    expect(short!.critics.mean!.figures.brier!.value).toBeGreaterThan(0);
    // Without candidates no critic is asked to rank the two responses.
    expect(none!.critics.head!.figures.top1_of_2).toBeUndefined();
    expect(readFileSync(join(scratch, 'shifted/values/none/head.jsonl'), 'utf8')).toContain(
      '"candidates":[null,null]',
    );
  }, 120_000);
});

it('of a run: its task, its trained actor, its critic with the options that it has there', async () => {
  const folder = join(scratch, 'run');
  const run = startRun(
    {
      folder,
      stages: ['joint'],
      task: { use: join(root, 'test/fixtures/length-task.ts') },
      critic: { use: 'value-head', model: 'task:blank' },
      actor: { model: 'task:blank', learning_rate: 1e-3 },
      sampling: { batch_size: 2, num_generations: 2, max_new_tokens: 12 },
      gates: { joint: null },
      icc: { warm_rollouts: 4 },
      evaluation: { every: 0, prompts: 4, states: 8 },
      joint: { steps: 2, learning_rate: 1e-3 },
    },
    { workers },
  );
  await run.finished;
  const { input: found, base } = await evaluationOfRuns([folder]);
  expect(found.actor).toMatchObject({ model: join(folder, 'checkpoints/joint/actor') });
  const result = await evaluate(
    {
      ...{ ...found, folder: join(scratch, 'of-run'), bootstrap: 100, icc_rollouts: 8 },
      ...{ prompts: 4, candidates: 0, continuations: 8 },
      critics: { ...found.critics, blank: { use: 'value-head', model: 'task:blank' } },
    },
    { workers, base },
  );
  const { run: trained, blank } = result.distributions.none!.critics;
  expect(trained!.figures.mse!.value).not.toBe(blank!.figures.mse!.value);
  expect(result.trained_tokens.run).toBeGreaterThan(0);
}, 120_000);
