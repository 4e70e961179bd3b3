/**
 * A client in trouble: rate limits are waited out, a bad question costs itself alone, gateways that
 * give up are charged for, simultaneous calls share one limit, and the key is never repeated.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { z } from 'zod';
import { askAll, REFUSED, Traffic } from '../../src/api/ask.ts';
import { AnswerCache } from '../../src/api/cache.ts';
import { ApiClient } from '../../src/api/client.ts';
import { Ledger } from '../../src/api/ledger.ts';
import type { Answered, Failed, Send } from '../../src/api/request.ts';
import { apiSchema } from '../../src/config/api.ts';
import { answer, type Behaviour, type MockServer, send, startServer } from './server.ts';

type Options = Partial<z.input<typeof apiSchema>>;

let server: MockServer;
let folder: string;
let said: string[];
beforeEach(async () => {
  server = await startServer();
  folder = mkdtempSync(join(tmpdir(), 'genac-client-'));
  said = [];
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
  vi.useRealTimers();
  vi.unstubAllEnvs();
});

const apiOf = (options: Options) =>
  apiSchema.parse({
    ...{ model: 'm', base_url: server.url, api_key_env: null, backoff: 0.02, tries: 2 },
    ...options,
  });

function make(options: Options = {}): ApiClient {
  const { signal } = new AbortController();
  return new ApiClient(apiOf(options), { folder, signal, log: (text) => said.push(text) });
}

const questions = (count: number, name = 'question') =>
  Array.from({ length: count }, (_, i) => ({
    messages: [{ role: 'user', content: `${name} ${i}` }],
    sample: 0,
  }));

const answersFile = () => readFileSync(join(folder, 'answers.jsonl'), 'utf8');

/** The server refuses questions whose text has `bad`. */
const refusing =
  (status: number): Behaviour =>
  (response, { body }) => {
    if (!body.messages[0]!.content.includes('bad')) answer(response, 'fine');
    else send(response, status, { error: { message: 'filtered', code: 'content_filter' } });
  };

describe('the key', () => {
  const key = 'sk-test+0123456789/abcdef';

  it.each(['\r', '\r\n', '\n', ' '])(
    'is hidden as it is sent, without %j after it',
    async (end) => {
      vi.stubEnv('GENAC_TEST_KEY', `${key}${end}`);
      server.behave((response, { authorization }, number) => {
        if (number === 0) send(response, 500, { error: { message: `bad: ${authorization}` } });
        else if (number === 1) answer(response, `you sent ${authorization}`);
        else send(response, 401, `no such key: ${authorization}`);
      });
      const client = make({ api_key_env: 'GENAC_TEST_KEY' });
      expect(await client.ask(questions(1))).toEqual(['you sent Bearer (key)']);
      expect(server.received[0]!.authorization).toBe(`Bearer ${key}`);
      const error = await client.ask(questions(2)).catch((e: Error) => e.message);
      expect(error).toContain('no such key: Bearer (key)');
      expect(`${error} ${said} ${answersFile()}`).not.toContain(key);
    },
  );

  it.each([
    ['JSON', '"sk-test\\u002B0123456789\\/abcdef"'],
    ['a URL', 'GET /?key=sk-test%2b0123456789%2Fabcdef'],
    ['HTML', '<p>sk-test&#43;0123456789&#x2F;abcdef</p>'],
  ])('is hidden as %s spells it', async (_, text) => {
    vi.stubEnv('GENAC_TEST_KEY', key);
    server.behave((response) => send(response, 200, `no JSON: ${text}`));
    const asked = make({ api_key_env: 'GENAC_TEST_KEY', tries: 1 }).ask(questions(1));
    const error = await asked.catch((e: Error) => e.message);
    expect(error).toContain('(key)');
    expect(error).not.toContain('0123456789');
  });

  it('that no header can carry is not repeated either', async () => {
    vi.stubEnv('GENAC_TEST_KEY', 'sk-test-01234567\n89abcdef');
    const asked = make({ api_key_env: 'GENAC_TEST_KEY', tries: 1 }).ask(questions(1));
    const error = (await asked.catch((e: unknown) => e)) as Error;
    expect(error.message).toContain('(key)');
    expect(`${error.stack} ${error.cause}`).not.toMatch(/01234567|89abcdef/);
  });
});

describe('a rate limit', () => {
  it('is waited out, however many tries that takes', async () => {
    let last = 0;
    server.behave((response) => {
      const now = performance.now();
      if (now - last < 90) return send(response, 429, '', { 'retry-after': '0.1' });
      last = now;
      answer(response, 'fine');
    });
    const began = performance.now();
    const client = make({ tries: 1, concurrency: 8 });
    expect(await client.ask(questions(8))).toEqual(Array(8).fill('fine'));
    expect(performance.now() - began).toBeGreaterThan(7 * 90);
    expect(said[0]).toMatch(/^critic: HTTP 429: .*; waits for the rate limit in 0\.\d s$/);
  });

  it('sends the requests back at different times', async () => {
    const times: number[] = [];
    server.behave((response, _, number) => {
      times.push(performance.now());
      if (number < 8) send(response, 503, '', { 'retry-after': '0.05' });
      else answer(response, 'fine');
    });
    await make({ tries: 1, concurrency: 8, backoff: 0.5 }).ask(questions(8));
    const back = times.slice(8);
    expect(Math.max(...back) - Math.min(...back)).toBeGreaterThan(25);
  });

  it('ends the run after ten minutes and a timeout without any answer', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const limited = { kind: 'limited', what: 'HTTP 429', advice: 'later', charged: false } as const;
    let sent = 0;
    const asked = asking(async () => ({ ...limited, wait: 30, sent: sent++ }), 1);
    const ended = expect(asked).rejects.toThrow(
      /: HTTP 429, and no answer to any question for 7\d\d s: resume the run later \(later\)/,
    );
    await vi.advanceTimersByTimeAsync(719_000);
    expect(sent).toBeGreaterThan(2);
    await vi.advanceTimersByTimeAsync(91_000);
    await ended;
    const before = sent;
    await vi.advanceTimersByTimeAsync(600_000);
    expect(sent).toBe(before);
  });
});

/** What a server of this kind does to so many questions. */
function asking(sending: Send, count: number, traffic = new Traffic(), price: Options = {}) {
  const api = apiOf({ timeout: 120, ...price });
  const cache = new AnswerCache(join(folder, 'answers.jsonl'), folder);
  return askAll(questions(count), {
    ...{ api, cache, traffic, run: folder, send: sending },
    ledger: new Ledger(api, cache.paid),
    stopped: () => false,
    progress: () => {},
    trouble: (text) => said.push(text),
  });
}

describe('a question that the server refuses', () => {
  const asked = [...questions(3), ...questions(1, 'bad'), ...questions(2, 'other')];
  const expected = ['fine', 'fine', 'fine', null, 'fine', 'fine'];

  it.each([400, 413, 422])('costs itself alone: HTTP %i', async (status) => {
    server.behave(refusing(status));
    const client = make();
    expect(await client.ask(asked)).toEqual(expected);
    expect(said).toEqual([`critic: a question was refused: HTTP ${status}: filtered`]);
    expect(await client.ask(asked)).toEqual(expected);
    expect(server.received).toHaveLength(6);
    expect(client.usage.answers).toBe(5);
    // A resumed run asks it alone, for it knows that the server takes others.
    expect(await make().ask(questions(1, 'bad'))).toEqual([null]);
    expect(server.received).toHaveLength(7);
  });

  it('costs itself alone also where the first prompt has many states', async () => {
    server.behave(refusing(400));
    const bad = questions(20, 'bad');
    expect(await make().ask([...bad, ...questions(20)])).toEqual([
      ...Array(20).fill(null),
      ...Array(20).fill('fine'),
    ]);
  });

  it('is one clear error where the server has answered none, however often it is asked', async () => {
    server.behave(refusing(400));
    const client = make();
    for (const sent of [8, 16]) {
      await expect(client.ask(questions(100, 'bad'))).rejects.toThrow(
        /HTTP 400: filtered \(the server does not take the request: check model, .*0 of 100 answers/,
      );
      expect(server.received).toHaveLength(sent);
    }
  });

  it('costs itself alone where it is among the first few that are ever asked', async () => {
    server.behave(refusing(400));
    const client = make();
    expect(await client.ask(questions(5, 'bad'))).toEqual(Array(5).fill(null));
    expect(await client.ask(questions(2))).toEqual(['fine', 'fine']);
  });

  it('ends the run where it is one of eight in all, and none was answered', async () => {
    server.behave(refusing(400));
    const client = make();
    expect(await client.ask(questions(5, 'bad'))).toEqual(Array(5).fill(null));
    await expect(client.ask(questions(5, 'very bad'))).rejects.toThrow('HTTP 400: filtered');
  });

  it('ends the run if a thousand in a row are refused', async () => {
    const refused: Failed = {
      ...{ kind: 'refused', what: 'HTTP 400: no', advice: 'check', wait: null, charged: false },
    };
    const fine: Answered = { kind: 'answer', text: 'fine', finish: 'stop', usage: null };
    const traffic = new Traffic();
    let sent = 0;
    const once: Send = async () => (sent++ % 999 === 0 ? fine : refused);
    const answers = await asking(once, 1998, traffic);
    expect(answers!.filter((one) => one === REFUSED)).toHaveLength(1996);
    rmSync(join(folder, 'answers.jsonl'));
    sent = 0;
    await expect(asking(async () => (sent++ === 0 ? fine : refused), 3000)).rejects.toThrow(
      ': 1000 questions in a row were refused; the last: HTTP 400: no (check). 1 of 3000 answers',
    );
    expect(sent).toBeLessThan(1001 + 8);
  });
});

describe('max_cost', () => {
  // 42 dollars per million in, and 100 tokens out: 142 in the worst case.
  const priced = { price: { input: 1, output: 1 }, max_tokens: 100, concurrency: 1, tries: 9 };

  it.each([408, 500, 502, 504, 520, 522, 524, 400])('counts HTTP %i', async (status) => {
    server.behave((response, _, number) => {
      if (number === 0) answer(response, 'fine');
      else send(response, status, 'gave up');
    });
    // The answer costs 110, and two failures 142 each; a third one might exceed 500.
    const client = make({ ...priced, max_cost: 500e-6 });
    expect(await client.ask(questions(3))).toEqual(status === 400 ? ['fine', null, null] : null);
    expect(server.received).toHaveLength(3);
    expect(await client.ask(questions(1, 'new'))).toBeNull();
    expect(server.received).toHaveLength(3);
  });

  it.each([409, 425, 429, 503, 529])('does not count HTTP %i', async (status) => {
    server.behave((response, _, number) =>
      number < 1 ? send(response, status, 'later') : answer(response, 'fine'),
    );
    expect(await make({ ...priced, max_cost: 143e-6 }).ask(questions(1))).toEqual(['fine']);
  });
});

it('simultaneous calls share the limit of requests, and pay once for equal questions', async () => {
  server.behave((response, { body }) => {
    setTimeout(() => answer(response, `to ${body.messages[0]!.content}`), 20);
  });
  const client = make({ concurrency: 2 });
  const same = questions(6);
  const [one, two, other] = await Promise.all([
    client.ask(same),
    client.ask([...same].reverse()),
    client.ask(questions(2, 'other')),
  ]);
  expect(one).toEqual(same.map(({ messages }) => `to ${messages[0]!.content}`));
  expect(two).toEqual([...one!].reverse());
  expect(other).toEqual(['to other 0', 'to other 1']);
  expect(server.received).toHaveLength(8);
  expect(server.most).toBe(2);
});

it('a call whose question another one failed to ask ends in the same error', async () => {
  server.behave((response) => void setTimeout(() => send(response, 404, 'no such model'), 20));
  const client = make({ concurrency: 2 });
  const results = await Promise.allSettled([client.ask(questions(1)), client.ask(questions(1))]);
  for (const result of results)
    expect(`${(result as PromiseRejectedResult).reason}`).toMatch('404');
  expect(server.received).toHaveLength(1);
});
