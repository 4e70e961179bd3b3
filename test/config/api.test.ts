import { describe, expect, it } from 'vitest';
import { backoff, retryAfter } from '../../src/api/retry.ts';
import { ConfigError } from '../../src/config/error.ts';
import { checkConfig } from '../../src/config/load.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { redactor } from '../../src/config/secrets.ts';

const secret = 'sk-proj-abcdefghij0123456789';

function problemsOf(api: unknown): string {
  const traces = { api };
  try {
    checkConfig({
      folder: 'x',
      task: 'miniature',
      critic: 'c',
      actor: null,
      stages: ['critic-sft'],
      critic_sft: { traces },
    } as ConfigInput);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return '';
}

describe('the options of an oracle behind an API', () => {
  it('are few', () => expect(problemsOf({ model: 'm' })).toBe(''));

  it.each([
    [{}, 'critic_sft.traces.api.model: missing'],
    [
      { model: 'm', concurency: 2 },
      'critic_sft.traces.api.concurency: no such option; did you mean "concurrency"?',
    ],
    [
      { model: 'm', base_url: 'localhost:8000' },
      'critic_sft.traces.api.base_url: "localhost:8000": expected a URL such as',
    ],
    [{ model: 'm', tries: 0 }, 'critic_sft.traces.api.tries: 0: Too small'],
    [
      { model: 'm', max_cost: 1 },
      'critic_sft.traces.api.max_cost: 1: needs `price: {input, output}`',
    ],
    [
      { model: 'm', extra: { stream: true } },
      'critic_sft.traces.api.extra.stream: true: has an option of its own',
    ],
    [{ model: 'm', price: { input: 1 } }, 'critic_sft.traces.api.price.output: missing'],
  ])('%j is one clear error', (api, expected) => expect(problemsOf(api)).toContain(expected));

  it.each([
    { model: 'm', api_key: 'whatever' },
    { model: 'm', 'api-key': 'whatever' },
    { model: 'm', api_key_env: secret },
    { model: 'm', extra: { headers: { Authorization: `Bearer ${secret}` } } },
    { model: secret },
  ])('a key is refused in words that do not repeat it: %#', (api) => {
    expect(problemsOf(api)).toContain('in it. A config is copied into the run');
    expect(problemsOf(api)).not.toContain(secret);
  });

  it.each([
    'https://me:hunter22@host/v1',
    'https://hunter22@host/v1',
    'http://:hunter22@host/v1',
    'ftp://me:hunter22@host/v1',
    ' https://me:hunter22@host/v1',
    'https://host/v1?api_key=hunter22',
    'https://host/v1?x=1&token=hunter22',
    'https://host/v1?sig=hunter22',
    'https://host/v1#access_token=hunter22',
    'https://host/sk-hunter22abcdefghijkl/v1',
    'https://host/v1?version=hunter22',
  ])('a key in the URL is refused in words that do not repeat it: %s', (base_url) => {
    const message = problemsOf({ model: 'm', base_url });
    expect(message).toMatch(
      /looks like a key, or like a URL with one|A key goes into an environment var/,
    );
    expect(message).toMatch(/critic_sft\.traces\.api\.base_url: /);
    expect(message).not.toContain('hunter22');
  });

  it.each([
    { extra: { tools: [{ url: 'https://me:hunter22@host/' }] } },
    { extra: { 'https://me:hunter22@host': 1 } },
    { cache: 'https://me:hunter22@host/answers' },
    { base_url: ['https://me:hunter22@host'] },
    { 'https://me:hunter22@host': 1 },
  ])('nor elsewhere: %#', (options) => {
    const message = problemsOf({ model: 'm', ...options });
    expect(message).toContain('looks like a key, or like a URL with one in it');
    expect(message).not.toContain('hunter22');
  });

  it.each(['http://127.0.0.1:8000/v1', 'https://host/@me/v1'])('%s is fine', (base_url) =>
    expect(problemsOf({ model: 'm', base_url })).toBe(''),
  );

  it('an environment variable whose name is none is refused without being repeated', () => {
    const message = problemsOf({ model: 'm', api_key_env: 'my own key!' });
    expect(message).toContain(
      'the name of an environment variable that holds the key, never the key itself',
    );
    expect(message).not.toContain('my own key!');
  });
});

describe('waiting', () => {
  it('doubles up to a minute, between half and all of it', () => {
    expect([1, 2, 3].map((n) => backoff(n, 1, () => 1))).toEqual([1, 2, 4]);
    expect(backoff(3, 1, () => 0)).toBe(2);
    expect(backoff(30, 1, () => 1)).toBe(60);
  });

  it('reads Retry-After in seconds and as a date', () => {
    const now = Date.parse('Wed, 21 Oct 2026 07:28:00 GMT');
    expect(retryAfter('12', now)).toBe(12);
    expect(retryAfter('Wed, 21 Oct 2026 07:28:30 GMT', now)).toBe(30);
    expect(retryAfter('Wed, 21 Oct 2026 07:27:00 GMT', now)).toBe(0);
    expect(retryAfter('soon', now)).toBeNull();
    expect(retryAfter(null, now)).toBeNull();
  });
});

it('a key is taken out in every form, a placeholder is not', () => {
  const redact = redactor('s3cret/key+1');
  expect(
    redact(
      `a s3cret/key+1 b ${encodeURIComponent('s3cret/key+1')} ` +
        `${Buffer.from('s3cret/key+1').toString('base64')}`,
    ),
  ).toBe('a (key) b (key) (key)');
  expect(redactor('EMPTY')('EMPTY')).toBe('EMPTY');
});
