/**
 * A critic that a run trained, used by itself: from TypeScript, from the command line, from Python.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { judge } from '../../examples/value.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { startRun } from '../../src/run/run.ts';
import { readCheckpoint } from '../../src/run-folder/checkpoint.ts';
import { openCritic } from '../../src/standalone/open-critic.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { findPython } from '../../src/workers/python.ts';
import { WorkerModel } from '../../src/workers/worker-model.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-value-'));
const trained = join(scratch, 'trained');
const problem = '5 | a -4 | b *3 | c +5 | d +1 | e +2 | f *4 | g +3 | h +5 | >';
const response = 'a 1 b 3 c 8';
let workers: WorkerGroup;

async function run(input: ConfigInput): Promise<void> {
  const going = startRun(input, { workers });
  for await (const _ of going);
  await going.finished;
}

beforeAll(async () => {
  workers = await startWorkers({
    workers: [
      { name: 'actor', threads: 1 },
      { name: 'critic', threads: 1 },
    ],
  });
  const common: ConfigInput = {
    folder: trained,
    task: { use: 'miniature', actors: 4 },
    actor: { model: 'task:blank', name: 'learner' },
    critic: 'group-mean',
    sampling: { batch_size: 2, num_generations: 2, max_new_tokens: 8 },
    icc: { warm_rollouts: 4 },
    joint: { steps: 1 },
    evaluation: { every: 0, prompts: 2, states: 4 },
  };
  await run({
    ...common,
    stages: ['critic-sft', 'joint'],
    critic: { use: 'generative', model: 'task:blank', thinking: false, max_new_tokens: 6 },
    critic_sft: {
      steps: 40,
      cooldown: 0,
      warmup: 5,
      batch: 32,
      evaluate_every: 100,
      learning_rate: 5e-3,
    },
    gates: { joint: null, explained_variance: false },
  });
  await run({ ...common, folder: join(scratch, 'group-mean'), stages: ['joint'] });
}, 120_000);
afterAll(() => workers?.close());

const genac = (...args: string[]) =>
  spawnSync(process.execPath, [join(root, 'src/cli/genac.mjs'), 'value', ...args], {
    encoding: 'utf8',
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
const python = (code: string): string =>
  execFileSync(findPython(), ['-c', code], {
    encoding: 'utf8',
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });

describe('openCritic', () => {
  it('judges each prefix in the format that the critic was trained with, and tells it of the actor as the checkpoint has it', async () => {
    const critic = await openCritic(trained, { workers });
    const judged = await critic.value(problem, response);
    expect(judged.prefixes.map((prefix) => prefix.response)).toEqual([
      '',
      'a 1',
      'a 1 b 3',
      response,
    ]);
    // The mean of the eleven scores by their probabilities, of which each has some.
    for (const { value } of judged.prefixes)
      if (value !== null) {
        expect(value).toBeGreaterThan(0);
        expect(value).toBeLessThan(1);
        expect(10 * value).not.toBe(Math.round(10 * value));
      }
    expect(judged.prefixes.some(({ value }) => value !== null)).toBe(true);
    expect(judged.value).toBe(judged.prefixes.at(-1)!.value);
    const { success_rate } = await readCheckpoint(join(trained, 'checkpoints', 'joint'));
    const percent = Math.min(99, Math.round(100 * success_rate!));
    const rate = `${Math.floor(percent / 10)} ${percent % 10}`;
    expect(critic.prompt(problem, 'a 1')).toBe(`size 1 rate ${rate} | ${problem} a 1 ?`);
    const larger = { name: 'x', parameters: 3e5, successRate: null };
    expect(critic.prompt(problem, '', larger)).toBe(`size 3 rate | ${problem} ?`);
    const again = await openCritic(join(trained, 'checkpoints', 'joint', 'critic'), { workers });
    expect(await again.value(problem, response)).toEqual(judged);
  });

  it('counts the actor’s parameters as the worker does', async () => {
    const { parametersIn } = await import('../../src/standalone/parameters.ts');
    const source = join(trained, 'checkpoints', 'joint', 'actor');
    const { loaded } = await WorkerModel.load(workers.get('actor'), 'counted', {
      ...({
        source,
        kind: 'causal',
        initialization: 'pretrained',
        device: 'cpu',
        dtype: 'float32',
      } as const),
      ...{ seed: 0, lora: null, optimizer: null },
    });
    expect(parametersIn(source)).toBe(loaded.parameters);
  });

  it('ranks whole responses, those without a score last; of several completions values are averaged', async () => {
    const critic = await openCritic(trained, { workers, completions: 8, temperature: 1 });
    const ranked = await critic.rank(problem, [response, 'a 9', 'a 1']);
    expect(ranked.map(({ index }) => index).sort()).toEqual([0, 1, 2]);
    const values = ranked.map(({ value }) => value ?? -1);
    expect(values).toEqual([...values].sort((a, b) => b - a));
    expect(await critic.rank(problem, [response, 'a 9', 'a 1'])).toEqual(ranked);
  });

  it('uses a folder that lies in no run as the paper’s critic, or in the format of the task that is named', async () => {
    const alone = join(scratch, 'alone');
    cpSync(join(trained, 'checkpoints', 'critic-sft', 'critic'), alone, { recursive: true });
    const paper = await openCritic(alone, { workers, maxNewTokens: 4 });
    expect(paper.prompt(problem, 'One. Two')).toMatchObject([{ role: 'user' }]);
    const task = { use: 'miniature', actors: 4 };
    const named = await openCritic(alone, { workers, task, thinking: false, maxNewTokens: 6 });
    const inRun = await openCritic(join(trained, 'checkpoints', 'critic-sft'), { workers });
    expect(named.prompt(problem, 'a 1')).toBe(`${problem} a 1 ?`);
    const told = { name: 'learner', parameters: 1e5, successRate: 0.5 };
    expect(await named.value(problem, response, told)).toEqual(
      await inRun.value(problem, response, told),
    );
  });

  it.each([
    ['/nowhere/at/all', 'there is no folder'],
    ['group-mean', 'has no critic of its own'],
    ['.', 'holds no critic'],
  ])('refuses %s in words', async (folder, why) => {
    const path = folder.startsWith('/') ? folder : join(scratch, folder);
    await expect(openCritic(path, { workers })).rejects.toThrow(why);
  });
});

describe('genac value', () => {
  it('prints values and rankings, and nothing that a response could do to a terminal', () => {
    const one = genac(trained, '--prompt', problem, '--response', 'a 1 \u001b[2J b 3');
    expect(one.stderr).toBe('');
    expect(one.stdout).toContain('\\u001b[2J b 3\n');
    expect(one.stdout.match(/^ {2}(\d\.\d\d| {3}-) {2}/gm)).toHaveLength(3);
    const ranking = genac(trained, '--prompt', problem, '--response', 'a 1', 'a 9', '--json');
    expect(JSON.parse(ranking.stdout)).toHaveLength(2);
    expect(genac(trained, '--prompt', problem).stderr).toContain(
      'give either --prompt and --response',
    );
    const half = genac(trained, '--prompt', problem, '--response', 'a', '--actor-name', 'x');
    expect(half.stderr).toContain('--actor-name and --actor-parameters together');
  }, 120_000);

  it('judges JSON lines one by one, and says which can’t be judged', () => {
    const [input, output] = [join(scratch, 'in.jsonl'), join(scratch, 'out.jsonl')];
    const lines = [
      { id: 7, prompt: problem, response: 'a 1\u2028', actor: { name: 'x', parameters: 1e5 } },
      { prompt: problem, responses: ['a 1', 'a 9'] },
      { prompt: problem },
    ];
    writeFileSync(input, `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`);
    const { status, stderr } = genac(trained, '--input', input, '--output', output);
    expect(stderr).toContain('1 lines could not be judged');
    expect(status).toBe(1);
    const [first, second, third] = readFileSync(output, 'utf8')
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l));
    expect(first).toMatchObject({ id: 7, response: 'a 1\u2028' });
    expect(first.prefixes[0].response).toBe('');
    expect(second.ranking).toHaveLength(2);
    expect(third.error).toContain('either `response` or `responses`');
    expect(genac(trained, '--input', join(scratch, 'none.jsonl')).stderr).toContain('ENOENT');
    const kept = readFileSync(input, 'utf8');
    const link = join(scratch, 'link.jsonl');
    symlinkSync(input, link);
    const refused = genac(trained, '--input', input, '--output', link);
    expect([refused.status, refused.stderr]).toEqual([1, expect.stringContaining('is the input')]);
    expect(readFileSync(input, 'utf8')).toBe(kept);
    // A byte order mark, a fault of an earlier answer, a blank line, and bytes that are no text.
    const again = JSON.stringify({ prompt: problem, response: 'a 1', error: 'old' });
    const bytes = Buffer.from(`\ufeff${again}\n\n"é`);
    writeFileSync(input, bytes.subarray(0, -1));
    const mended = genac(trained, '--input', input, '--output', output);
    expect(mended.stderr).toContain('1 lines could not be judged');
    const [valued, broken, ...more] = readFileSync(output, 'utf8').trim().split('\n');
    expect(JSON.parse(valued!)).toHaveProperty('prefixes');
    expect(JSON.parse(valued!)).not.toHaveProperty('error');
    expect([JSON.parse(broken!), more]).toEqual([{ error: 'not UTF-8' }, []]);
    const dashed = ['--response', '-3.', '--response', '- item'];
    expect(genac(trained, '--prompt', problem, ...dashed, '--json').status).toBe(0);
  }, 120_000);
});

describe('Python', () => {
  it('asks the same, byte for byte, and gets the same values and rankings', async () => {
    const odd = 'a 1 "é\u2028😀" b 3';
    const said = JSON.parse(
      python(`
import json, sys
from genac_bridge import Critic, CriticError
assert "torch" not in sys.modules
problem, response = json.loads(${JSON.stringify(JSON.stringify([problem, odd]))})
with Critic(${JSON.stringify(trained)}) as critic:
    asked = critic.prompt(problem, response)
    answer = critic.value(problem, response)
    ranking = critic.rank(problem, ["a 1", response])
    try:
        critic.value(7, response)
    except CriticError as error:
        wrong = str(error)
try:
    critic.value(problem, response)
except CriticError as error:
    closed = str(error)
try:
    Critic("/nowhere/at/all").value(problem, response)
except CriticError as error:
    missing = str(error)
print(json.dumps([asked, answer, ranking, wrong, closed, missing]))
`),
    );
    const critic = await openCritic(trained, { workers });
    expect(said[0]).toBe(critic.prompt(problem, odd));
    expect(said[1]).toEqual(await critic.value(problem, odd));
    const ranked = await critic.rank(problem, ['a 1', odd]);
    expect(said[2]).toEqual(ranked.map(({ response: _, ...rest }) => rest));
    expect(said[3]).toContain('prompt');
    expect(said[4]).toBe('the critic is closed');
    expect(said[5]).toContain('there is no folder /nowhere/at/all');
  }, 120_000);

  it('and the examples run', async () => {
    expect(await judge(trained, problem, [response, 'a 9'])).toHaveLength(5);
    const said = execFileSync(findPython(), [join(root, 'examples/value.py'), trained], {
      encoding: 'utf8',
    });
    expect(said.trim().split('\n')).toHaveLength(5);
  }, 120_000);
});
