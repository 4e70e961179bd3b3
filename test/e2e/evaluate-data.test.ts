/** `genac evaluate` on a user's own files: small sets, logs, and what changes between two calls. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EvaluationInput } from '../../src/comparison/config.ts';
import { evaluate } from '../../src/comparison/evaluate.ts';
import type { CollectedProblem } from '../../src/comparison/states.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-evaluate-data-'));
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

async function told(given: Partial<EvaluationInput> & { folder: string }) {
  const said: string[] = [];
  const log = (text: string) => void said.push(text);
  const options = {
    ...{ bootstrap: 100, candidates: 2, icc_rollouts: 4, critics: { mean: 'group-mean' } },
    ...given,
  };
  const result = await evaluate(options as EvaluationInput, { workers, log, base: scratch });
  return { result, said };
}

const statesIn = (folder: string): CollectedProblem[] =>
  readFileSync(join(folder, 'states', 'none.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => JSON.parse(line));

describe('a log of responses', () => {
  const log = join(scratch, 'log.jsonl');
  const write = (reward: number) =>
    writeFileSync(
      log,
      [0, 1, 2, 3]
        .flatMap((p) =>
          [0, 0.5, reward].map((one) => ({
            prompt: `${p}?`,
            response: `Yes. No${one}.`,
            reward: one,
          })),
        )
        .map((row) => `${JSON.stringify(row)}\n`)
        .join(''),
    );

  it('gives each response once, and its rewards as they are', async () => {
    write(1);
    const folder = join(scratch, 'logged');
    const given = { folder, actor: null, task: { use: 'logged', file: 'log.jsonl' } };
    const { result } = await told(given);
    const problems = statesIn(folder);
    for (const { responses } of problems)
      expect(responses.map(({ reward }) => reward).sort()).toEqual([0, 0.5, 1]);
    const [s0] = problems[0]!.states;
    expect(s0!.reference).toEqual({ mean: 0.5, square: 1.25 / 3, count: 3 });
    const { figures } = result.distributions.none!.critics.mean!;
    // Of s_0 and of the second state of each response: (1/2 - r)^2 is 1/4, 0, 1/4, mean 1/6.
    expect(figures.brier!.value).toBeCloseTo(1 / 6, 12);

    write(0.75);
    const changed = await told(given);
    expect(changed.result.distributions.none!.success).toBeCloseTo(1.25 / 3, 12);
  }, 120_000);
});

it('states that a task brings are valued by a critic with a s_0 of each response', async () => {
  const fixed = join(import.meta.dirname, '../fixtures/fixed-critic.ts');
  writeFileSync(
    join(scratch, 'half.ts'),
    `import fixed from ${JSON.stringify(fixed)};
    const create = (...given) => ({ ...fixed.create(...given), sharesFirstState: false });
    export default { ...fixed, create };`,
  );
  const folder = join(scratch, 'brought');
  const given = { folder, task: 'miniature', actor: null, references: 'exact' as const };
  const { result } = await told({ ...given, prompts: 20, critics: { half: { use: './half.ts' } } });
  const { half } = result.distributions.none!.critics;
  expect(half!.calibration).toMatchObject([{ score: 5, value: 0.5, n: 40 }]);
  expect(half!.figures.mse!.value).toBeGreaterThan(0);
}, 120_000);

describe('a small data set', () => {
  it('gives each problem once, and is not sampled twice', async () => {
    const length = join(import.meta.dirname, '../fixtures/length-task.ts');
    writeFileSync(
      join(scratch, 'few.ts'),
      `import task from ${JSON.stringify(length)};
      export default { ...task, async create(...given) {
        const made = await task.create(...given);
        const problems = (split, seed, from, count) => {
          const four = made.problems(split, seed, 0, 4);
          return Array.from({ length: count }, (_, i) => four[(from + i) % 4]);
        };
        return { ...made, problems };
      } };`,
    );
    const folder = join(scratch, 'rows');
    const given = {
      ...{ folder, task: { use: './few.ts' }, actor: { model: 'task:blank' } },
      ...{ sampling: { max_new_tokens: 6 }, references: 'outcomes' as const, prompts: 50 },
    };
    const first = await told(given);
    expect(first.said).toContain('the task has 4 heldout problems, not 50: each is taken once');
    expect(first.result.distributions.none!.problems).toBe(4);
    expect(new Set(statesIn(folder).map(({ problem }) => problem.id)).size).toBe(4);
    const again = await told(given);
    expect(again.said.filter((line) => /sampling|states of/.test(line))).toEqual([]);
    expect(again.result.distributions).toEqual(first.result.distributions);
  }, 120_000);
});
