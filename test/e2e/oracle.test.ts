/**
 * Stage 1 from models behind an API, on logged rollouts and without any actor: a real server with a
 * real model, and one that is told what to answer.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { loadConfigFile } from '../../src/config/load.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { resumeRun, startRun } from '../../src/run/run.ts';
import type { RunEvent } from '../../src/run-folder/events.ts';
import { readMetrics } from '../../src/run-folder/read.ts';
import { readTraceFile } from '../../src/stages/traces.ts';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { findPython } from '../../src/workers/python.ts';
import { answer, type MockServer, send, startServer } from '../api/server.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-oracle-'));
const model = join(scratch, 'model');
const key = 'sk-e2e-0123456789abcdef0123';
process.env.GENAC_TEST_KEY = key;
let workers: WorkerGroup;
let mock: MockServer;

beforeAll(async () => {
  const making = spawn(findPython(), [join(root, 'test/api/speaking-model.py'), model], {
    stdio: 'ignore',
  });
  const made = new Promise((resolve) => making.on('exit', resolve));
  [workers, mock] = await Promise.all([
    startWorkers({ workers: [{ name: 'critic', threads: 1 }] }),
    startServer(),
    made,
  ]);
}, 60_000);
afterAll(async () => {
  await workers?.close();
  await mock?.close();
  rmSync(scratch, { recursive: true });
});

const example = loadConfigFile(join(root, 'examples/logged.yaml'));

/** The example, small, with the oracle at a URL. */
function small(name: string, api: object): ConfigInput {
  return {
    ...example.config,
    folder: join(scratch, name),
    critic: { use: 'generative', model, max_new_tokens: 16 },
    critic_sft: {
      traces: {
        api: {
          model,
          count: 24,
          api_key_env: 'GENAC_TEST_KEY',
          backoff: 0.05,
          max_tokens: 16,
          ...api,
        },
      },
      ...{ steps: 2, cooldown: 0, warmup: 0, batch: 4, evaluate_every: 1, learning_rate: 1e-3 },
    },
    critic_rl: { steps: 2, states: 4, evaluate_every: 1, warmup: 0, learning_rate: 1e-3 },
    evaluation: { states: 8 },
  };
}

async function eventsOf(run: AsyncIterable<RunEvent>): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  for await (const event of run) events.push(event);
  return events;
}

function filesWith(text: string, folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => readFileSync(file).includes(text));
}

const criticPrompt = 'You judge an unfinished response';

it('goes through on a real server with a real model: `transformers serve`', async () => {
  const port = await freePort();
  const server = spawn(
    join(dirname(findPython()), 'transformers'),
    ['serve', model, '--port', String(port)],
    {
      env: { ...process.env, HF_HUB_OFFLINE: '1' },
      stdio: 'ignore',
    },
  );
  try {
    const price = { input: 1, output: 2 };
    const api = {
      base_url: `http://127.0.0.1:${port}/v1`,
      tries: 100,
      count: 12,
      concurrency: 2,
      price,
      max_cost: 1,
    };
    // The server is not up yet: the first questions are tried again.
    const events = await eventsOf(startRun(small('real', api), { base: example.base, workers }));
    expect(events.at(-1)).toEqual({ type: 'end', reason: 'done' });
    const traces = readTraceFile(join(scratch, 'real/oracle/traces.jsonl'));
    expect(traces).toHaveLength(12);
    for (const { rationale, score, state } of traces) {
      expect(rationale).toBe('It goes well.');
      expect([3, 7]).toContain(score);
      expect(state.actor).toMatchObject({ name: 'small-actor', parameters: 135e6 });
    }
    const progress = events.flatMap((e) => (e.type === 'progress' ? [e] : []));
    expect(progress.map(({ done }) => done)).toEqual(Array.from({ length: 13 }, (_, i) => i));
    const lines = readMetrics(join(scratch, 'real'));
    const last = lines.find((line) => line.type === 'iteration')!;
    // "It goes well. ", "<score>", "3", "</score>" and the end.
    expect(last['oracle/output_tokens']).toBe(12 * 5);
    const input = last['oracle/input_tokens'] as number;
    expect(last['oracle/cost']).toBeCloseTo((input + 2 * 12 * 5) / 1e6, 12);
    expect(
      lines.filter((line) => line.stage === 'critic-rl' && line.type === 'iteration'),
    ).toHaveLength(2);
    expect(filesWith(key, join(scratch, 'real'))).toEqual([]);
  } finally {
    server.kill('SIGKILL');
  }
}, 120_000);

it('asks the critic’s own prompt, with the actor’s profile, and never pays twice: Ctrl-C, resume', async () => {
  mock.behave((response, { body }, number) => {
    // As a careless proxy would: errors that repeat the key.
    if (number % 5 === 0) send(response, 500, { error: { message: `Bearer ${key} failed` } });
    else
      answer(
        response,
        `So long: ${body.messages[0]!.content.length}. ` +
          `<score>${body.messages[0]!.content.length % 11}</score>`,
      );
  });
  const config = small('stopped', { base_url: mock.url, concurrency: 3 });
  const first = startRun(config, { base: example.base, workers });
  for await (const event of first)
    if (event.type === 'progress' && event.done === 8) void first.stop();
  expect(await first.finished).toBe('stopped');
  const answered = () => mock.received.filter((_, i) => i % 5 !== 0).length;
  expect(answered()).toBeGreaterThanOrEqual(8);
  expect(answered()).toBeLessThan(16);
  const events = await eventsOf(resumeRun(join(scratch, 'stopped'), { workers }));
  expect(events.at(-1)).toEqual({ type: 'end', reason: 'done' });
  expect(answered()).toBe(24);
  const { content } = mock.received[1]!.body.messages[0]!;
  expect(content).toContain(criticPrompt);
  expect(content).toMatch(
    /name: small-actor\nparameters: 135\.0M\nsuccess rate: \d+\.\d% on recent problems/,
  );
  expect(mock.received[0]!.authorization).toBe(`Bearer ${key}`);
  expect(filesWith(key, join(scratch, 'stopped'))).toEqual([]);
  expect(JSON.stringify(events)).not.toContain(key);

  // The same without interruption, from the shared cache alone, gives the same traces.
  const cache = join(scratch, 'stopped/oracle/answers.jsonl');
  const before = mock.received.length;
  await eventsOf(
    startRun(small('again', { base_url: mock.url, cache }), { base: example.base, workers }),
  );
  expect(mock.received.length).toBe(before);
  const text = (name: string) => readFileSync(join(scratch, name, 'oracle/traces.jsonl'), 'utf8');
  expect(text('again')).toBe(text('stopped'));
}, 120_000);

it('outlives SIGKILL, as the command line has it, and says nothing of the key', async () => {
  mock.received.length = 0;
  mock.behave((response, _, number) => {
    if (number === 2) send(response, 429, `no more, ${key}`, { 'retry-after': '0' });
    else setTimeout(() => answer(response, 'Well. <score>5</score>'), 100);
  });
  const file = join(scratch, 'killed.yaml');
  const { task, critic_rl: _, ...rest } = small('killed', { base_url: mock.url, concurrency: 2 });
  const log = join(root, 'examples/logged.jsonl');
  writeFileSync(
    file,
    stringify({ ...rest, stages: ['critic-sft'], task: { ...(task as object), file: log } }),
  );
  const cli = (...args: string[]) => {
    const child = spawn(process.execPath, [join(root, 'src/cli/genac.mjs'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => (said += data));
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    return { child, ended, said: () => said };
  };
  const killed = cli('train', file);
  while (mock.received.length < 8 && killed.child.exitCode === null)
    await new Promise((resolve) => setTimeout(resolve, 20));
  killed.child.kill('SIGKILL');
  await killed.ended;
  const kept =
    readFileSync(join(scratch, 'killed/oracle/answers.jsonl'), 'utf8').split('\n').length - 1;
  expect(kept).toBeGreaterThanOrEqual(4);
  const before = mock.received.length;
  const resumed = cli('resume', join(scratch, 'killed'));
  expect(await resumed.ended, resumed.said()).toBe(0);
  expect(resumed.said()).toContain('oracle: 24 answers');
  expect(mock.received.length - before).toBe(24 - kept);
  expect(killed.said() + resumed.said()).not.toContain(key);
  expect(filesWith(key, join(scratch, 'killed'))).toEqual([]);
}, 120_000);

it('asks about the actor’s own responses where the task brings none; within the stage, a resumed run asks nothing', async () => {
  mock.received.length = 0;
  mock.behave((response) => answer(response, 'Well. <score>6</score>'));
  const reward = join(scratch, 'reward.ts');
  const index = JSON.stringify(join(root, 'src/index.ts'));
  writeFileSync(
    reward,
    `import { defineReward } from ${index};\nexport default defineReward(({ text }) => ` +
      "(text.includes('3') ? 1 : 0.5));\n",
  );
  const { critic_rl: _, ...config } = small('own-states', {
    base_url: mock.url,
    count: 6,
    tries: 1,
  });
  const run = startRun(
    {
      ...config,
      stages: ['critic-sft'],
      task: { use: 'jsonl', file: 'own-data.jsonl', prompt: 'question', format: 'chat' },
      rewards: [{ use: reward }],
      actor: { model, worker: 'critic' },
      sampling: { max_new_tokens: 8 },
      icc: { warm_rollouts: 4 },
    },
    { base: example.base, workers },
  );
  for await (const event of run) if (event.type === 'iteration') void run.stop();
  expect(await run.finished).toBe('stopped');
  expect(mock.received).toHaveLength(6);
  for (const { body } of mock.received)
    expect(body.messages[0]!.content).toMatch(/success rate: \d+\.\d% on/);
  expect((await eventsOf(resumeRun(join(scratch, 'own-states'), { workers }))).at(-1)).toEqual({
    type: 'end',
    reason: 'done',
  });
  expect(mock.received).toHaveLength(6);
  const lines = readMetrics(join(scratch, 'own-states')).filter(
    (line) => line.type === 'iteration',
  );
  expect(lines.map((line) => line['oracle/answers'])).toEqual([6, 6]);
}, 120_000);

it('says at once what is missing: a key, an actor, any answer that can be read', async () => {
  const run = (name: string, api: object, changes: object = {}) =>
    eventsOf(
      startRun(
        { ...small(name, { base_url: mock.url, ...api }), ...changes },
        { base: example.base, workers },
      ),
    );
  await expect(run('no-key', { api_key_env: 'GENAC_NOT_SET' })).rejects.toThrow(
    'critic_sft.traces.api.api_key_env: the environment variable GENAC_NOT_SET is not set',
  );
  const jsonl = { use: 'jsonl', file: 'own-data.jsonl', prompt: 'question' };
  await expect(run('no-states', {}, { task: jsonl })).rejects.toThrow(
    'there is no actor, and the task "jsonl" brings none',
  );
  mock.behave((response) => answer(response, 'I would say seven.'));
  await expect(run('prose', { count: 3 })).rejects.toThrow(
    /3 of 3 answers have no score that can be read \(0 are empty, 0 were refused, 0 reached max_tokens \(16\)\)\. The first: "I would say seven\."/,
  );
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
