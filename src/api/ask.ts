/** Sends many questions at once, with retries. Every answer is in the cache before it is used. */

import { type ApiModel, endpointOf } from '../config/api.ts';
import { UserError } from '../user-error.ts';
import { type AnswerCache, type CacheLine, keyOf, type Question } from './cache.ts';
import type { Ledger } from './ledger.ts';
import type { Failed, Send } from './request.ts';
import { backoff } from './retry.ts';

/** Seconds; the run ends if a server asks for a longer wait. */
const LONGEST_WAIT = 600;

export interface Asking {
  readonly api: ApiModel;
  readonly send: Send;
  readonly cache: AnswerCache;
  readonly ledger: Ledger;
  /** Folder of the run. */
  readonly run: string;
  /** True: no more questions are sent. Running requests end first, because they are paid for. */
  stopped(): boolean;
  /** Called after each answer, cached or new. */
  progress(answered: number, total: number): void;
  /** The model's part, for errors. Default: `the oracle`. */
  readonly who?: string;
  /** Called with the cause of a failed try that will be repeated. */
  trouble(text: string): void;
}

/** The oracle did not answer. The message has what happened, where, and what to do. */
export class OracleError extends UserError {}

/**
 * Returns the answers in the order of the questions.
 *
 * @returns null: stopped before all were answered
 * @throws OracleError if a question can't be answered, after running requests have ended
 */
export async function askAll(
  questions: readonly Question[],
  asking: Asking,
): Promise<NonNullable<CacheLine['answer']>[] | null> {
  const { api, cache } = asking;
  const keys = questions.map((question) => keyOf(question, api));
  // Equal questions have one answer, and it is paid for once.
  const copies = new Map<string, number[]>();
  for (const [i, key] of keys.entries())
    if (cache.get(key) === null) copies.set(key, [...(copies.get(key) ?? []), i]);
  const missing = [...copies.values()];
  let answered = questions.length - missing.flat().length;
  let fault: unknown = null;
  const gate = { until: 0 };
  let next = 0;
  asking.progress(answered, questions.length);
  const work = async () => {
    while (next < missing.length && fault === null && !asking.stopped()) {
      const same = missing[next++]!;
      const i = same[0]!;
      try {
        if (
          await askOne(
            questions[i]!,
            keys[i]!,
            asking,
            gate,
            () => fault !== null || asking.stopped(),
          )
        ) {
          answered += same.length;
          asking.progress(answered, questions.length);
        }
      } catch (error) {
        fault ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(api.concurrency, missing.length) }, work));
  if (fault !== null) {
    const what = fault instanceof Error ? fault.message : String(fault);
    throw new OracleError(
      `${asking.who ?? 'the oracle'} ${api.model} at ${endpointOf(api)}: ${what}. ${answered} of ` +
        `${questions.length} answers are kept in ${cache.path}, and won't be asked again`,
      { cause: fault },
    );
  }
  return answered === questions.length ? keys.map((key) => cache.get(key)!.answer!) : null;
}

/**
 * @returns false: stopped before the answer
 */
async function askOne(
  question: Question,
  key: string,
  { api, send, cache, ledger, run, trouble }: Asking,
  gate: { until: number },
  ended: () => boolean,
): Promise<boolean> {
  const dollars = ledger.bound(question);
  const keep = (line: Pick<CacheLine, 'answer' | 'usage' | 'at_most'>) => {
    cache.add({ key, run, model: api.model, ...line });
    ledger.note(line);
  };
  for (let tries = 1; ; tries++) {
    if (!(await until(() => gate.until, ended))) return false;
    await ledger.reserve(dollars);
    try {
      if (ended()) return false;
      const result = await send(question);
      if (result.kind === 'answer') {
        const { text, finish, usage } = result;
        keep({ answer: { text, finish }, usage, at_most: usage ? null : dollars });
        return true;
      }
      if (result.charged) keep({ answer: null, usage: null, at_most: dollars });
      const wait = refuseToWait(result, tries, api);
      trouble(`${result.what}; try ${tries + 1} of ${api.tries} in ${wait.toFixed(1)} s`);
      const due = performance.now() + 1000 * wait;
      if (result.wait !== null) gate.until = Math.max(gate.until, due);
      if (!(await until(() => due, ended))) return false;
    } finally {
      ledger.release(dollars);
    }
  }
}

/**
 * @returns seconds until the next try @throws UserError with the cause if there is no next try
 */
function refuseToWait({ kind, what, advice, wait }: Failed, tries: number, api: ApiModel): number {
  if (kind === 'hopeless') throw new UserError(`${what} (${advice})`);
  if (tries >= api.tries) throw new UserError(`${what}, at the last of ${tries} tries (${advice})`);
  if (wait !== null && wait > LONGEST_WAIT)
    throw new UserError(
      `${what}; it asks to come back in ${Math.ceil(wait)} s: resume the run then (${advice})`,
    );
  // "At once" is no time to recover in.
  return wait || backoff(tries, api.backoff);
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
