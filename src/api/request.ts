/** Sends one request to an OpenAI-compatible server, and classifies the result. */
import OpenAI, { APIConnectionError, APIError } from 'openai';
import { z } from 'zod';
import type { ApiModel } from '../config/api.ts';
import type { Question, Usage } from './cache.ts';
import { retryAfter } from './retry.ts';

export interface Answered {
  readonly kind: 'answer';
  /** Empty if the model refused or wrote nothing. */
  readonly text: string;
  /** The server's reason why it ended; `refusal` if the model refused. */
  readonly finish: string | null;
  readonly usage: Usage | null;
}

export interface Failed {
  /**
   * `again`: another try may help. `limited`: it will, once the rate limit allows it. `refused`:
   * the server does not take this question. `hopeless`: it takes none.
   */
  readonly kind: 'again' | 'limited' | 'refused' | 'hopeless';
  /** What happened, in words. */
  readonly what: string;
  /** What to do about it. */
  readonly advice: string;
  /** Seconds that the server asks to wait; null: it gives none. */
  readonly wait: number | null;
  /** True if the server may have charged for the try. */
  readonly charged: boolean;
}

const completion = z.object({
  choices: z
    .array(
      z.object({
        message: z.object({ content: z.string().nullish(), refusal: z.string().nullish() }),
        finish_reason: z.string().nullish(),
      }),
    )
    .min(1),
  usage: z
    .object({
      prompt_tokens: z.number().nonnegative(),
      completion_tokens: z.number().nonnegative(),
    })
    .nullish(),
});

export type Send = (question: Question) => Promise<Answered | Failed>;

/**
 * @param given the key, with or without white space around it
 * @param redact removes the key from a server's text
 */
export function sender(
  api: ApiModel,
  given: string | null,
  redact: (text: string) => string,
): Send {
  // A header has none at its ends, so an environment variable that has some works.
  const key = given?.trim() ?? null;
  const client = new OpenAI({
    baseURL: api.base_url,
    apiKey: key ?? 'none',
    adminAPIKey: null,
    organization: null,
    project: null,
    webhookSecret: null,
    maxRetries: 0,
    logLevel: 'off',
    timeout: 1000 * api.timeout,
    ...(key === null && { defaultHeaders: { Authorization: null } }),
  });
  const { model, temperature, top_p, extra } = api;
  return async ({ messages }) => {
    const deadline = AbortSignal.timeout(1000 * api.timeout);
    const body = {
      ...extra,
      model,
      messages,
      [api.max_tokens_name]: api.max_tokens,
      ...(temperature !== null && { temperature }),
      ...(top_p !== null && { top_p }),
    };
    let status: number | null = null;
    try {
      const response = await client
        .post<Response>('/chat/completions', { body, signal: deadline, maxRetries: 0 })
        .asResponse();
      status = response.status;
      return answerOf(await withinDeadline(response.text(), deadline), redact, status);
    } catch (error) {
      if (deadline.aborted) {
        const what = `no whole answer within ${api.timeout} s`;
        return again(what, 'raise `timeout`, or lower `concurrency` or `max_tokens`', {
          charged: true,
        });
      }
      return failureOf(error, api, redact, status);
    }
  };
}

/** The body may stall after the headers arrived. */
function withinDeadline<T>(promise: Promise<T>, deadline: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    deadline.addEventListener('abort', () => reject(deadline.reason), { once: true });
    promise.then(resolve, reject);
  });
}

function answerOf(
  text: string,
  redact: (text: string) => string,
  status: number,
): Answered | Failed {
  const advice = 'is that an OpenAI-compatible server? check base_url';
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    const what = `HTTP ${status}, but the body is not JSON: ${excerpt(redact(text))}`;
    return again(what, advice, { charged: true });
  }
  const read = completion.safeParse(json);
  if (!read.success) {
    const issue = read.error.issues[0]!;
    const what = `HTTP ${status}, but no completion (${issue.path.join('.')}: ${issue.message}): ${excerpt(redact(text))}`;
    return again(what, advice, { charged: true });
  }
  const { choices, usage } = read.data;
  const { message, finish_reason } = choices[0]!;
  const refused = typeof message.refusal === 'string' && message.refusal !== '';
  return {
    kind: 'answer',
    text: redact(message.content ?? ''),
    finish: refused ? 'refusal' : finish_reason ? redact(finish_reason) : null,
    usage: usage ? { input: usage.prompt_tokens, output: usage.completion_tokens } : null,
  };
}

function failureOf(
  error: unknown,
  { api_key_env: variable, timeout }: ApiModel,
  redact: (text: string) => string,
  status: number | null,
): Failed {
  if (error instanceof APIConnectionError || !(error instanceof APIError)) {
    const { message, cause } = error as Error;
    const why = redact([message, innermost(cause)].filter(Boolean).join(' '));
    if (status !== null) {
      const what = `HTTP ${status}, and the body was cut off (${excerpt(why)})`;
      return again(what, 'the server or a proxy closes connections early', { charged: true });
    }
    if (neverSent(cause))
      return again(`no connection (${excerpt(why)})`, 'does the server run at base_url?', {});
    const what = `the connection broke before an answer (${excerpt(why)})`;
    return again(what, 'the server or a proxy closes connections early', { charged: true });
  }
  const code = error.status as number | undefined;
  const what = `HTTP ${code}: ${excerpt(redact(bodyOf(error)))}`;
  if (code === 401 || code === 403) {
    const advice =
      variable === null
        ? 'the server wants a key: name its environment variable in api_key_env'
        : `check the key in ${variable}`;
    return { kind: 'hopeless', what, advice, wait: null, charged: false };
  }
  if (code === 429 && error.code === 'insufficient_quota')
    return {
      kind: 'hopeless',
      what,
      advice: 'the account has no credit left',
      wait: null,
      charged: false,
    };
  const wait = retryAfter(error.headers?.get('retry-after') ?? null, Date.now());
  if (code === 429 || (code === 503 && wait !== null)) {
    const advice = 'lower `concurrency`, or raise `backoff`';
    return { kind: 'limited', what, advice, wait, charged: false };
  }
  if (code === undefined || code >= 500 || [408, 409, 425].includes(code)) {
    const advice = `the server is at fault: try later, or raise tries or timeout (${timeout} s)`;
    return again(what, advice, { wait, charged: mayHaveAnswered(code) });
  }
  const [kind, advice] = REFUSALS.includes(code)
    ? ([
        'refused',
        'the server does not take the request: check model, max_tokens, max_tokens_name, ' +
          'temperature and extra, and whether the prompt is too long or is filtered',
      ] as const)
    : (['hopeless', 'check base_url and model'] as const);
  return { kind, what, advice, wait: null, charged: kind === 'refused' };
}

/** A prompt that is too long or filtered, or an option that the server does not know. */
const REFUSALS = [400, 413, 422];

/**
 * A gateway that gave up on a model (408, 502, 504, 520 to 524) can't stop it from writing, and a
 * model that broke (500) may have written. 503 and 529 say that the request was not taken.
 */
const mayHaveAnswered = (code = 500) => code === 408 || (code >= 500 && ![503, 529].includes(code));

const again = (what: string, advice: string, rest: Partial<Failed>): Failed => ({
  kind: 'again',
  what,
  advice,
  wait: null,
  charged: false,
  ...rest,
});

const excerpt = (text: string) => {
  const line = text.replace(/\s+/g, ' ').trim();
  return line === '' ? 'empty' : line.length > 300 ? `${line.slice(0, 300)}...` : line;
};

const bodyOf = ({ error, message }: APIError) =>
  typeof (error as { message?: unknown } | undefined)?.message === 'string'
    ? (error as { message: string }).message
    : message;

/** Errors of name resolution, of connecting and of TLS come before the request. */
const BEFORE_SENDING = new RegExp(
  '^(ECONNREFUSED|ENOTFOUND|EAI_|ENETUNREACH|EHOSTUNREACH|UND_ERR_CONNECT_TIMEOUT|' +
    'ERR_TLS|ERR_SSL|ERR_INVALID|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO)',
);

/** False: the server may have read the request, and charge for it. */
function neverSent(cause: unknown): boolean {
  let one = cause as { code?: string; message?: string; cause?: unknown } | undefined;
  for (; one; one = one.cause as typeof one)
    if (BEFORE_SENDING.test(one.code ?? '') || one.message === 'bad port') return true;
  return false;
}

function innermost(cause: unknown): string {
  let current = cause as { cause?: unknown; message?: string; code?: string } | undefined;
  while (current?.cause) current = current.cause as typeof current;
  return current?.message || current?.code || '';
}
