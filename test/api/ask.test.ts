/**
 * Asking a server that misbehaves: every fault ends in another try or in one clear error, and what
 * was answered is kept.
 */
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { askAll } from '../../src/api/ask.ts';
import { AnswerCache, type Question } from '../../src/api/cache.ts';
import { Ledger } from '../../src/api/ledger.ts';
import { sender } from '../../src/api/request.ts';
import { apiSchema } from '../../src/config/api.ts';
import { redactor } from '../../src/config/secrets.ts';
import { answer, type Behaviour, type MockServer, send, startServer } from './server.ts';

const key = 'sk-test-0123456789abcdef0123';
let server: MockServer;
let scratch: string;
let told: string[];
let progress: string[];
let stopped: boolean;

beforeEach(async () => {
  server = await startServer();
  scratch = mkdtempSync(join(tmpdir(), 'genac-ask-'));
  [told, progress, stopped] = [[], [], false];
});
afterEach(async () => {
  await server.close();
  rmSync(scratch, { recursive: true });
});

const cacheFile = () => join(scratch, 'oracle', 'answers.jsonl');
const questions = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    messages: [{ role: 'user', content: `question ${i}` }],
    sample: 0,
  }));

async function ask(
  asked: number | readonly Question[],
  options: Partial<z.input<typeof apiSchema>> = {},
  ownKey: string | null = key,
) {
  const api = apiSchema.parse({
    model: 'm',
    base_url: server.url,
    backoff: 0.01,
    tries: 3,
    concurrency: 4,
    ...options,
  });
  const cache = new AnswerCache(cacheFile(), scratch);
  const ledger = new Ledger(api, cache.paid);
  const answers = await askAll(typeof asked === 'number' ? questions(asked) : asked, {
    ...{ api, cache, ledger, run: scratch, stopped: () => stopped },
    send: sender(api, ownKey, redactor(ownKey)),
    progress: (done, total) => progress.push(`${done}/${total}`),
    trouble: (text) => told.push(text),
  });
  return { texts: answers?.map(({ text }) => text) ?? null, ledger, cache };
}

/** The first request fails like this, all others are answered. */
const failing = (fault: Behaviour): Behaviour => {
  return (response, received, number) =>
    number === 0 ? fault(response, received, number) : answer(response, `yes <score>${7}</score>`);
};

it('gives the answers in the order of the questions, however they arrive', async () => {
  server.behave((response, { body }) => {
    const content = body.messages[0]!.content;
    setTimeout(() => answer(response, `to ${content}`), 5 * (10 - Number(content.split(' ')[1])));
  });
  const { texts, ledger } = await ask(10, { price: { input: 1, output: 10 } });
  expect(texts).toEqual(questions(10).map(({ messages }) => `to ${messages[0]!.content}`));
  expect(server.most).toBe(4);
  expect(progress.at(-1)).toBe('10/10');
  // 10 answers of 100 tokens in at 1 dollar, and 10 out at 10 dollars per million.
  expect(ledger.metrics).toEqual({
    'oracle/answers': 10,
    'oracle/input_tokens': 1000,
    'oracle/output_tokens': 100,
    'oracle/cost': expect.closeTo(0.002, 12),
  });
});

it('sends what the options say, the key in a header alone, and no header without one', async () => {
  await ask(1, {
    temperature: 0.3,
    top_p: 0.9,
    max_tokens: 7,
    max_tokens_name: 'max_completion_tokens',
    extra: { effort: 'low' },
  });
  expect(server.received[0]!.authorization).toBe(`Bearer ${key}`);
  expect(server.received[0]!.body).toEqual({
    model: 'm',
    messages: [{ role: 'user', content: 'question 0' }],
    temperature: 0.3,
    top_p: 0.9,
    max_completion_tokens: 7,
    effort: 'low',
  });
  rmSync(cacheFile());
  await ask(1, { api_key_env: null, temperature: null }, null);
  expect(server.received[1]!.authorization).toBeUndefined();
  expect(server.received[1]!.body).toEqual({
    model: 'm',
    messages: [{ role: 'user', content: 'question 0' }],
    max_tokens: 1024,
  });
});

describe('a fault that may pass is tried again', () => {
  it('not at once, also where the server says so', async () => {
    const slow: Behaviour = (r) => send(r, 500, 'slow down', { 'retry-after': '0' });
    server.behave(slow);
    const began = performance.now();
    await expect(ask(1, { tries: 3, backoff: 0.1 })).rejects.toThrow('at the last of 3 tries');
    expect(performance.now() - began).toBeGreaterThan(100);
  });

  it.each<[string, Behaviour, RegExp]>([
    [
      'a limit of the rate',
      (r) => send(r, 429, { error: { message: 'slow down' } }, { 'retry-after': '0' }),
      /HTTP 429: slow down; waits for the rate limit in 0\.\d s/,
    ],
    ['an error of the server', (r) => send(r, 500, 'oops'), /HTTP 500: .*oops/],
    ['an overloaded server', (r) => send(r, 503, ''), /HTTP 503/],
    [
      'JSON that is none',
      (r) => send(r, 200, '{"choices": [{]'),
      /HTTP 200, but the body is not JSON: \{"choices"/,
    ],
    [
      'a page instead of JSON',
      (r) => r.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
      /not JSON: <html>/,
    ],
    ['an empty body', (r) => send(r, 200, ''), /not JSON: empty/],
    ['no choices', (r) => send(r, 200, { choices: [] }), /HTTP 200, but no completion \(choices/],
    [
      'a body that is cut off',
      (r) => {
        r.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
        r.write('{"choices": [', () => r.destroy());
      },
      /HTTP 200, and the body was cut off/,
    ],
    ['a connection that is closed', (r) => r.destroy(), /the connection broke before an answer/],
    ['no answer at all', () => {}, /no whole answer within 0.3 s/],
    [
      'a body that never ends',
      (r) => {
        r.writeHead(200, { 'content-type': 'application/json' });
        r.write('{"choices": [');
      },
      /no whole answer within 0.3 s/,
    ],
  ])('%s', async (_, fault, expected) => {
    server.behave(failing(fault));
    expect((await ask(1, { timeout: 0.3 })).texts).toEqual(['yes <score>7</score>']);
    expect(server.received).toHaveLength(2);
    expect(told.join('\n')).toMatch(expected);
  });

  it('no sooner than the server asks for, for all requests', async () => {
    server.behave(failing((r) => send(r, 429, '', { 'retry-after': '0.4' })));
    const began = performance.now();
    await ask(1);
    expect(performance.now() - began).toBeGreaterThan(390);
  });

  it('until the last try, whose error names model, URL, status and what to do; the others are kept', async () => {
    server.behave((response, { body }) =>
      body.messages[0]!.content === 'question 2'
        ? send(response, 503, 'busy')
        : answer(response, 'fine'),
    );
    await expect(ask(3, { concurrency: 1 })).rejects.toThrow(
      /the oracle m at http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions: HTTP 503: .*busy, at the last of 3 tries \(the server is at fault.*2 of 3 answers are kept in .*answers\.jsonl/,
    );
    server.behave((response) => answer(response, 'late'));
    expect((await ask(3)).texts).toEqual(['fine', 'fine', 'late']);
    expect(server.received).toHaveLength(2 + 3 + 1);
  });
});

describe('a fault that will not pass is one error', () => {
  it.each<[number, object | string, RegExp, number?]>([
    [
      401,
      { error: { message: 'bad key' } },
      /HTTP 401: bad key \(check the key in OPENAI_API_KEY\)/,
    ],
    [
      404,
      { error: { message: 'no such model' } },
      /HTTP 404: no such model \(check base_url and model\)/,
    ],
    [
      400,
      { error: { message: 'max_tokens?' } },
      /HTTP 400: max_tokens\? \(the server does not take the request: check model, max_tokens/,
      8,
    ],
    [
      429,
      { error: { message: 'no money', code: 'insufficient_quota' } },
      /no money \(the account has no credit left\)/,
    ],
  ])('HTTP %i', async (status, body, expected, most = 4) => {
    server.behave((response) => send(response, status, body));
    await expect(ask(40)).rejects.toThrow(expected);
    expect(server.received.length).toBeLessThanOrEqual(most);
  });

  it('a wait of hours', async () => {
    const date = new Date(Date.now() + 7200_000).toUTCString();
    server.behave((response) => send(response, 429, 'later', { 'retry-after': date }));
    await expect(ask(1)).rejects.toThrow(/asks to come back in 7\d\d\d s: resume the run then/);
  });

  it('no server', async () => {
    await expect(ask(1, { base_url: 'http://127.0.0.1:9/v1', tries: 2 })).rejects.toThrow(
      /http:\/\/127\.0\.0\.1:9\/v1\/chat\/completions: no connection \(.*\), at the last of 2 tries \(does the server run at base_url\?\)/,
    );
  });
});

it('a refusal and an empty answer are answers', async () => {
  server.behave((response, _, number) => answer(response, number === 0 ? null : ''));
  expect((await ask(2, { concurrency: 1 })).texts).toEqual(['', '']);
});

describe('the cache', () => {
  it('is read again whatever interrupted it: a torn line is ignored and asked again', async () => {
    await ask(3);
    const whole = readFileSync(cacheFile(), 'utf8');
    writeFileSync(cacheFile(), whole.slice(0, -20));
    const { cache } = await ask(3);
    expect(cache.torn).toBe(1);
    expect(server.received).toHaveLength(4);
    await ask(3);
    expect(server.received).toHaveLength(4);
  });

  it('knows questions apart by model, URL, sampling and number', async () => {
    await ask(1);
    await ask(1, { model: 'other' });
    await ask(1, { temperature: 0.5 });
    await ask(1, { extra: { seed: 1 } });
    expect(server.received).toHaveLength(4);
    await ask(1, { concurrency: 1, tries: 9, timeout: 9 });
    expect(server.received).toHaveLength(4);
  });

  it('keeps what was answered when it is stopped', async () => {
    server.behave((response, _, number) => {
      stopped = number >= 4;
      answer(response, 'x');
    });
    expect((await ask(20, { concurrency: 2 })).texts).toBeNull();
    const paid = server.received.length;
    expect(paid).toBeLessThan(8);
    stopped = false;
    server.behave((response) => answer(response, 'x'));
    expect((await ask(20)).texts).toHaveLength(20);
    expect(server.received).toHaveLength(20);
  });
});

it('equal questions are sent once and have one answer, also when read again', async () => {
  let sent = 0;
  server.behave((response) => answer(response, `answer ${sent++}`));
  const [one, other] = questions(2);
  for (let i = 0; i < 2; i++) {
    const { texts } = await ask([one!, other!, one!, one!], { concurrency: 1 });
    expect(texts).toEqual(['answer 0', 'answer 1', 'answer 0', 'answer 0']);
    expect(progress.at(-1)).toBe('4/4');
  }
  expect(server.received).toHaveLength(2);
});

describe('max_cost', () => {
  // A question is 10 bytes and 32 around them: 42 dollars per million in, and 100 tokens out: 142
  // at the most, 110 as the server counts.
  const priced = { price: { input: 1, output: 1 }, max_tokens: 100 };

  it('stops before it is exceeded, and counts what was paid before', async () => {
    await expect(ask(10, { ...priced, max_cost: 400e-6 })).rejects.toThrow(
      /0\.0003 dollars are spent, and the next answer may cost up to 0\.0001: max_cost 0\.0004 might be exceeded .*3 of 10 answers are kept/,
    );
    expect(server.received).toHaveLength(3);
    await expect(ask(10, { ...priced, max_cost: 400e-6 })).rejects.toThrow('3 of 10');
    expect(server.received).toHaveLength(3);
    // Also where the run's folder has another path by now.
    const moved = `${scratch}-moved`;
    renameSync(scratch, moved);
    scratch = moved;
    await expect(ask(10, { ...priced, max_cost: 400e-6 })).rejects.toThrow('3 of 10');
    expect(server.received).toHaveLength(3);
    expect((await ask(10, { ...priced, max_cost: 1 })).texts).toHaveLength(10);
  });

  it('counts what goes beside the messages, such as a schema', () => {
    const extra = { response_format: { description: 'x'.repeat(1000) } };
    const bound = (more: object) =>
      new Ledger(apiSchema.parse({ model: 'm', ...priced, ...more }), []).bound(questions(1)[0]!);
    expect(bound({})).toBeCloseTo(142e-6, 12);
    expect(bound({ extra })).toBeCloseTo((142 + JSON.stringify(extra).length) * 1e-6, 12);
  });

  it('counts a request whose connection broke, for the server may have answered it', async () => {
    server.behave(failing((response) => response.destroy()));
    await expect(ask(3, { ...priced, max_cost: 400e-6, concurrency: 1 })).rejects.toThrow(
      '2 of 3 answers are kept',
    );
  });

  it('takes the most where the server counts no tokens, and says so', async () => {
    server.behave((response) => answer(response, 'x', {}));
    await expect(ask(10, { ...priced, max_cost: 400e-6 })).rejects.toThrow('2 of 10 answers');
    // Questions 0 and 1 were asked.
    const { ledger } = await ask(2, priced);
    expect(ledger.words).toContain('(the server gave no token counts for 2 of 2 answers)');
  });
});

it('the key is in no error, no message and no file, also where the server repeats it', async () => {
  server.behave((response, _, number) =>
    number < 2
      ? send(response, 500, { error: { message: `your key ${key} broke` } })
      : answer(response, `key: ${key} <score>1</score>`),
  );
  const { texts } = await ask(1);
  expect(texts).toEqual(['key: (key) <score>1</score>']);
  appendFileSync(cacheFile(), told.join('\n'));
  expect(readFileSync(cacheFile(), 'utf8')).not.toContain(key);
  rmSync(cacheFile());
  server.behave((response) => send(response, 401, `Incorrect API key ${key}`));
  const error = (await ask(1).catch((e: unknown) => e)) as Error;
  expect(`${error.stack} ${JSON.stringify(error.cause)}`).not.toContain(key);
  expect(error.message).toContain('Incorrect API key (key)');
  expect(existsSync(cacheFile())).toBe(false);
});
