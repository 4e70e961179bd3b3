/**
 * Sends many questions at once, with retries. Every answer is in the cache before it is used.
 *
 * - A rate limit is waited out, and is no try: it ends the run only after a long time without any
 *   answer.
 * - A refused question costs itself alone, once the server has answered any question of the run. As
 *   long as it has not, a few questions go ahead, for a wrong option is refused as well: where all
 *   of them are refused, the run ends.
 */

import { type ApiModel, endpointOf } from '../config/api.ts';
import { UserError } from '../user-error.ts';
import { type AnswerCache, type CacheLine, keyOf, type Question } from './cache.ts';
import type { Ledger } from './ledger.ts';
import type { Failed, Send } from './request.ts';
import { backoff } from './retry.ts';

/** Seconds; the run ends if a server asks for a longer wait. */
const LONGEST_WAIT = 600;

/** Questions that are sent before all others, and may be refused, until one was answered. */
const FIRST = 8;

/** Questions refused one after the other until the run ends: more than one prompt's states. */
const MOST_REFUSALS = 1000;

/** What simultaneous calls of `askAll` for one server share. */
export class Traffic {
  /** Time of `performance.now()`: nothing is sent before. */
  gate = 0;
  lastAnswer = 0;
  refusedInRow = 0;
  /**
   * Refused questions by key, with the server's words. Not kept in a file: after a change of the
   * config they are asked again.
   */
  readonly refused = new Map<string, string>();
  /** Questions that are being asked, by key: true if they are settled. */
  readonly running = new Map<string, Promise<boolean>>();
}

/** Of a question that the server refused; equal by identity. */
export const REFUSED: NonNullable<CacheLine['answer']> = { text: '', finish: 'refusal' };

export interface Asking {
  readonly api: ApiModel;
  readonly send: Send;
  readonly cache: AnswerCache;
  readonly ledger: Ledger;
  /** Default: its own. */
  readonly traffic?: Traffic;
  /** Folder of the run. */
  readonly run: string;
  /** True: no more questions are sent. Running requests end first, because they are paid for. */
  stopped(): boolean;
  /** Called after each answer, cached or new, and each refusal. */
  progress(answered: number, total: number): void;
  /** The model's part, for errors. Default: `the oracle`. */
  readonly who?: string;
  /** Called with the cause of a failed try that will be repeated, or of a refusal. */
  trouble(text: string): void;
}

/** The oracle did not answer. The message has what happened, where, and what to do. */
export class OracleError extends UserError {}

/**
 * Returns the answers in the order of the questions; that of a refused question is `REFUSED`.
 *
 * @returns null: stopped before all were answered
 * @throws OracleError if questions can't be answered, after running requests have ended
 */
export async function askAll(
  questions: readonly Question[],
  given: Asking,
): Promise<NonNullable<CacheLine['answer']>[] | null> {
  const asking = { ...given, traffic: given.traffic ?? new Traffic() };
  const { api, cache, ledger, traffic } = asking;
  const keys = questions.map((question) => keyOf(question, api));
  const answerOf = (key: string) =>
    cache.get(key)?.answer ?? (traffic.refused.has(key) ? REFUSED : null);
  // Equal questions have one answer, and it is paid for once.
  const copies = new Map<string, number[]>();
  for (const [i, key] of keys.entries())
    if (answerOf(key) === null) copies.set(key, [...(copies.get(key) ?? []), i]);
  const missing = [...copies.values()];
  let answered = questions.length - missing.flat().length;
  let fault: unknown = null;
  const ended = () => fault !== null || asking.stopped();
  // A cached answer is of the same model, URL and options.
  const cached = keys.some((key) => cache.get(key) !== null);
  const takesQuestions = () => cached || ledger.answers > 0;
  asking.progress(answered, questions.length);
  const askEach = async (some: readonly (readonly number[])[]) => {
    let next = 0;
    const work = async () => {
      while (next < some.length && !ended()) {
        const same = some[next++]!;
        const i = same[0]!;
        try {
          if (await settle(questions[i]!, keys[i]!, asking, ended)) {
            answered += same.length;
            asking.progress(answered, questions.length);
          }
        } catch (error) {
          fault ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(api.concurrency, some.length) }, work));
  };
  // Far apart, because neighbours often share a prompt.
  const count = takesQuestions() ? 0 : Math.min(FIRST, missing.length);
  const places = Array.from({ length: count }, (_, i) => Math.floor((i * missing.length) / count));
  const first = new Set(places.map((place) => missing[place]!));
  await askEach([...first]);
  const refusal = keys.flatMap((key) => traffic.refused.get(key) ?? [])[0];
  const isNoneTaken = traffic.refused.size >= FIRST && !takesQuestions();
  if (refusal !== undefined && isNoneTaken && !asking.stopped()) fault ??= new UserError(refusal);
  await askEach(missing.filter((same) => !first.has(same)));
  if (fault !== null) {
    const what = fault instanceof Error ? fault.message : String(fault);
    const kept = keys.filter((key) => cache.get(key) !== null).length;
    throw new OracleError(
      `${asking.who ?? 'the oracle'} ${api.model} at ${endpointOf(api)}: ${what}. ${kept} of ` +
        `${questions.length} answers are kept in ${cache.path}, and won't be asked again`,
      { cause: fault },
    );
  }
  return answered === questions.length ? keys.map((key) => answerOf(key)!) : null;
}

type Shared = Asking & { readonly traffic: Traffic };

/**
 * Asks a question, unless another call asks it, or has asked it by now.
 *
 * @returns false: stopped before it was answered or refused
 */
async function settle(
  question: Question,
  key: string,
  asking: Shared,
  ended: () => boolean,
): Promise<boolean> {
  const { running, refused } = asking.traffic;
  for (let other = running.get(key); other !== undefined; other = running.get(key))
    if (await other) return true;
  if (asking.cache.get(key) !== null || refused.has(key)) return true;
  const own = askOne(question, key, asking, ended);
  running.set(key, own);
  try {
    return await own;
  } finally {
    running.delete(key);
  }
}

/** @returns false: stopped before it was answered or refused */
async function askOne(
  question: Question,
  key: string,
  { api, send, cache, ledger, traffic, run, trouble }: Shared,
  ended: () => boolean,
): Promise<boolean> {
  const dollars = ledger.bound(question);
  const keep = (line: Pick<CacheLine, 'answer' | 'usage' | 'at_most'>) => {
    cache.add({ key, run, model: api.model, ...line });
    ledger.note(line);
  };
  let tries = 0;
  let limits = 0;
  let began: number | null = null;
  for (;;) {
    await ledger.reserve(dollars);
    try {
      if (!(await until(() => traffic.gate, ended))) return false;
      const sent = performance.now();
      began ??= sent;
      const result = await send(question);
      const now = performance.now();
      if (result.kind === 'answer') {
        const { text, finish, usage } = result;
        keep({ answer: { text, finish }, usage, at_most: usage ? null : dollars });
        traffic.lastAnswer = now;
        traffic.refusedInRow = 0;
        return true;
      }
      if (result.charged) keep({ answer: null, usage: null, at_most: dollars });
      if (result.kind === 'refused') {
        const cause = `${result.what} (${result.advice})`;
        traffic.refused.set(key, cause);
        if (++traffic.refusedInRow >= MOST_REFUSALS)
          throw new UserError(
            `${MOST_REFUSALS} questions in a row were refused; the last: ${cause}`,
          );
        trouble(`a question was refused: ${result.what}`);
        return true;
      }
      const limited = result.kind === 'limited';
      if (!limited) tries++;
      // Other requests may be what this one waits for.
      else limits = traffic.lastAnswer > sent ? 1 : limits + 1;
      const silent = (now - Math.max(began, traffic.lastAnswer)) / 1000;
      endIfHopeless(result, tries, silent, api);
      const pause = backoff(limited ? limits : tries, api.backoff);
      // "At once" is no time to recover in, and a random part keeps requests from coming together.
      const wait = result.wait ? result.wait + Math.random() * pause : pause;
      const next = limited ? 'waits for the rate limit' : `try ${tries + 1} of ${api.tries}`;
      trouble(`${result.what}; ${next} in ${wait.toFixed(1)} s`);
      if (result.wait) traffic.gate = Math.max(traffic.gate, now + 1000 * result.wait);
      const due = now + 1000 * wait;
      if (!(await until(() => due, ended))) return false;
    } finally {
      ledger.release(dollars);
    }
  }
}

/**
 * @param silent seconds without an answer to any question
 * @throws UserError with the cause if there is no next try
 */
function endIfHopeless(
  { kind, what, advice, wait }: Failed,
  tries: number,
  silent: number,
  api: ApiModel,
): void {
  if (kind === 'hopeless') throw new UserError(`${what} (${advice})`);
  if (kind !== 'limited' && tries >= api.tries)
    throw new UserError(`${what}, at the last of ${tries} tries (${advice})`);
  if (kind === 'limited' && silent > LONGEST_WAIT + api.timeout)
    throw new UserError(
      `${what}, and no answer to any question for ${Math.floor(silent)} s: resume the run later ` +
        `(${advice})`,
    );
  if (wait !== null && wait > LONGEST_WAIT)
    throw new UserError(
      `${what}; it asks to come back in ${Math.ceil(wait)} s: resume the run then (${advice})`,
    );
}

/** Waits until a time of `performance.now()`. @returns false: stopped before */
async function until(due: () => number, ended: () => boolean): Promise<boolean> {
  for (;;) {
    if (ended()) return false;
    const rest = due() - performance.now();
    if (rest <= 0) return true;
    await new Promise((resolve) => setTimeout(resolve, Math.min(rest, 100)));
  }
}
