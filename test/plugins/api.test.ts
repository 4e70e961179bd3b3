/** A critic behind an API: its answers, what is kept of them, its limit, and what it is shown. */
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import api from '../../plugins/critics/api.ts';
import { createCritic } from '../../src/checked-critic.ts';
import type { Critic } from '../../src/critic.ts';
import { writeTraceFile } from '../../src/stages/traces.ts';
import { textState } from '../../src/state.ts';
import { answer, type MockServer, send, startServer } from '../api/server.ts';
import { criticConformance } from '../conformance/critic.ts';
import { bareCriticEnvironment } from '../fixtures/critic-environment.ts';

const profile = { name: 'the-actor', parameters: 85_000, successRate: 0.25 };
const problem = { id: 'p', prompt: 'What is 2 + 2?', columns: {} };
const context = { purpose: 'test', iteration: 0 };
const stateOf = (response: string, i = 0) =>
  textState({ id: `s${i}`, problem, response, group: i, actor: profile });

let server: MockServer;
let folder: string;
let said: string[];
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server?.close());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'genac-api-'));
  said = [];
  server.received.length = 0;
  // A right sum is worth 9, and everything else 2.
  server.behave((response, { body }) => {
    const right = body.messages.at(-1)!.content.includes('2 + 2 = 4');
    answer(response, `Thinking. <score>${right ? 9 : 2}</score>`);
  });
});

function make(changes: object = {}, signal = new AbortController().signal): Promise<Critic> {
  const options = api.options.parse({
    ...{ model: 'm', base_url: server.url, api_key_env: null, backoff: 0.01, tries: 2 },
    ...changes,
  });
  const environment = bareCriticEnvironment({
    ...{ folder: async () => folder, log: (text: string) => void said.push(text), signal },
  });
  return createCritic(api, options, environment);
}

criticConformance('api', {
  make: () => make(),
  problems: [problem],
  responses: ['', '2 + 2', '2 + 2 = 4'],
});

describe('a model that writes no score', () => {
  beforeEach(() => {
    server.behave((response) => answer(response, 'I do not know.'));
  });
  criticConformance('api, without a score', {
    make: () => make(),
    problems: [problem],
    responses: ['', '2 + 2'],
  });
});

it('values states by what the model writes, in order, below the constant’s error from the start', async () => {
  const critic = await make();
  const responses = Array.from({ length: 20 }, (_, i) => `2 + 2 = ${i % 2 === 0 ? 4 : 5}`);
  const valuations = await critic.value(responses.map(stateOf), context);
  const truth = responses.map((_, i) => (i % 2 === 0 ? 1 : 0));
  const errors = valuations.map(({ value }, i) => (value - truth[i]!) ** 2);
  expect(errors.reduce((sum, error) => sum + error, 0) / 20).toBeLessThan(0.25 / 4);
  expect(valuations[0]).toMatchObject({ value: 0.9, parsed: 'ok', rationale: 'Thinking.' });
});

it('tells the model of the actor, or not; shows traces before the question', async () => {
  const shots = join(folder, 'shots.jsonl');
  const state = stateOf('2 + 2 = 4', 7);
  await writeTraceFile(shots, [{ state, rationale: 'It is right.', score: 10, observed: 1 }]);
  await (await make({ shots })).value([stateOf('x')], context);
  await (await make({ icc: false, thinking: false })).value([stateOf('y')], context);
  const [first, second] = server.received.map(({ body }) => body.messages);
  expect(first!.map(({ role }) => role)).toEqual(['user', 'assistant', 'user']);
  expect(first![1]!.content).toBe('It is right.\n<score>10</score>');
  // A trace that can't be read teaches nothing.
  const unread = { state, rationale: 'I cannot say.', score: Number.NaN, observed: 1 };
  const half = { state, rationale: 'Half.', score: 7.5, observed: 1 };
  await writeTraceFile(shots, [unread, half]);
  await expect(make({ shots })).rejects.toThrow('no trace in');
  const good = { state, rationale: 'It is right.', score: 10, observed: 1 };
  await writeTraceFile(shots, [unread, half, good]);
  await (await make({ shots, shot_count: 1 })).value([stateOf('z')], context);
  expect(server.received.at(-1)!.body.messages[1]!.content).toBe(first![1]!.content);
  expect(first![2]!.content).toContain('name: the-actor');
  expect(second![0]!.content).not.toContain('the-actor');
  expect(second![0]!.content).toContain('Answer with the score alone');
});

it('pays for no answer twice, and reports what it paid', async () => {
  const reported: object[] = [];
  const report = (metrics: object) => void reported.push(metrics);
  const price = { input: 1, output: 10 };
  const states = ['a', 'b', 'c'].map(stateOf);
  const first = await (await make({ price })).value(states, { ...context, report });
  const again = await (await make({ price })).value(states, { ...context, report });
  expect(again).toEqual(first);
  expect(server.received).toHaveLength(3);
  expect(existsSync(join(folder, 'answers.jsonl'))).toBe(true);
  // 100 tokens in and 10 out, each: 100 x 1 + 10 x 10 dollars for a million.
  expect(reported).toEqual([
    {
      ...{ api_answers: 3, api_input_tokens: 300, api_output_tokens: 30 },
      api_cost: expect.closeTo(600e-6, 12),
    },
    { api_answers: 0, api_input_tokens: 0, api_output_tokens: 0, api_cost: 0 },
  ]);
});

describe('its limit', () => {
  it('is never exceeded: the batch and all later ones have no values, and the log says so once', async () => {
    // An answer of 1,000 tokens may cost .01 dollars, and costs .0001.
    const limits = { price: { input: 0, output: 10 }, max_tokens: 1000, max_cost: 0.0105 };
    const critic = await make({ ...limits, concurrency: 1 });
    const many = Array.from({ length: 9 }, (_, i) => stateOf(`r${i}`, i));
    const valuations = await critic.value(many, context);
    expect(server.received.length).toBeGreaterThan(2);
    expect(server.received.length).toBeLessThan(9);
    for (const valuation of valuations)
      expect(valuation).toMatchObject({ value: 0.25, parsed: 'malformed', skipped: 'not-asked' });
    const before = server.received.length;
    await critic.value([stateOf('new')], context);
    expect(server.received).toHaveLength(before);
    expect(said.filter((text) => text.includes('max_cost 0.0105 might be exceeded'))).toHaveLength(
      1,
    );
  });

  it('needs a price', () => {
    const read = api.options.safeParse({ model: 'm', max_cost: 1 });
    expect(JSON.stringify(read.error?.issues)).toContain('needs `price: {input, output}`');
  });
});

it('a state that the server refuses has no value, and is counted as refused', async () => {
  server.behave((response, { body }) =>
    body.messages.at(-1)!.content.includes('bad')
      ? send(response, 400, { error: { message: 'filtered', code: 'content_filter' } })
      : answer(response, '<score>9</score>'),
  );
  const states = ['good', 'bad', 'fine'].map(stateOf);
  const valuations = await (await make({ completions_per_state: 2 })).value(states, context);
  expect(valuations.map(({ parsed }) => parsed)).toEqual(['ok', 'malformed', 'ok']);
  expect(valuations[1]).toMatchObject({ value: 0.25, rationale: '', skipped: 'refused' });
  expect(valuations[0]!.skipped).toBeUndefined();
  expect(said.join()).toContain('critic: a question was refused: HTTP 400: filtered');
});

it('says which server failed and why, and ends when the run does', async () => {
  server.behave((response) => send(response, 401, { error: { message: 'no such key' } }));
  await expect((await make()).value([stateOf('x')], context)).rejects.toThrow(
    /the critic m at http.*401.*0 of 1 answers are kept/,
  );
  const stop = new AbortController();
  const critic = await make({}, stop.signal);
  stop.abort(new Error('the run stops'));
  await expect(critic.value([stateOf('y')], context)).rejects.toThrow('the run stops');
});

it('needs the key that its options name', async () => {
  await expect(make({ api_key_env: 'GENAC_NO_SUCH_KEY' })).rejects.toThrow(
    'critic.api_key_env: the environment variable GENAC_NO_SUCH_KEY is not set',
  );
  // A key itself is no name of a variable.
  expect(api.options.safeParse({ model: 'm', api_key_env: 'sk-0123' }).success).toBe(false);
});
