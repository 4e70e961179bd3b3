/**
 * An oracle behind an API, with the folder that keeps its answers and the traces that they become.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { askAll, OracleError } from '../api/ask.ts';
import { AnswerCache, type CacheLine } from '../api/cache.ts';
import { Ledger } from '../api/ledger.ts';
import { sender } from '../api/request.ts';
import { tellSometimes } from '../api/tell-sometimes.ts';
import { type ApiOptions, endpointOf } from '../config/api.ts';
import { redactor } from '../config/secrets.ts';
import type { Critic } from '../critic.ts';
import { pathFrom } from '../files/paths.ts';
import type { OracleTrace, Rollout } from '../task.ts';
import { type CriticFormat, safeFormat } from '../text/critic-prompt.ts';
import type { State } from '../types.ts';
import { questionsOf, statesToAsk, traceOf } from './questions.ts';
import { readTraceFile, writeTraceFile } from './traces.ts';

export interface OracleTraces {
  readonly traces: readonly OracleTrace[];
  /** Totals of the run: `oracle/cost`, ... */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface AskOptions {
  readonly seed: number;
  /** The oracle gets its prompt. */
  readonly critic: Pick<Critic, 'prompt'>;
  readonly format: CriticFormat;
  say(text: string): void;
  progress(answered: number, total: number, metrics: Readonly<Record<string, number>>): void;
  /** True: no further question is asked. */
  stopped(): boolean;
}

export class Oracle {
  readonly #api: ApiOptions;
  readonly #cache: AnswerCache;
  readonly #ledger: Ledger;
  readonly #run: string;
  /** JSONL file of the traces, once all is answered. */
  readonly file: string;

  /**
   * @param run whose answers count against `max_cost`: those of another one with the same cache
   * don't
   */
  constructor(api: ApiOptions, folder: string, run: string) {
    this.#api = api;
    this.#run = run;
    this.#cache = new AnswerCache(
      api.cache === null ? join(folder, 'answers.jsonl') : pathFrom('.', api.cache),
      run,
    );
    this.#ledger = new Ledger(api, this.#cache.paid);
    this.file = join(folder, 'traces.jsonl');
  }

  /** The traces of an earlier life of the run; null: not all was answered. */
  kept(): OracleTraces | null {
    return existsSync(this.file)
      ? { traces: readTraceFile(this.file), metrics: this.#ledger.metrics }
      : null;
  }

  /**
   * Asks about one state of each rollout, and writes `file`. @returns null: it was stopped before
   * all was answered @throws OracleError
   */
  async ask(rollouts: readonly Rollout[], asking: AskOptions): Promise<OracleTraces | null> {
    const { seed, critic, format, say, stopped } = asking;
    const ledger = this.#ledger;
    const cache = this.#cache;
    const api = this.#api;
    if (cache.torn > 0)
      say(`oracle: ${cache.torn} lines of ${cache.path} can't be read, and are ignored`);
    const asked = statesToAsk(rollouts, seed);
    const promptOf =
      critic.prompt?.bind(critic) ??
      ((state: State) => safeFormat(format).prompt(state, state.actor, true));
    const questions = questionsOf(asked, promptOf);
    const most = questions.reduce((sum, question) => sum + ledger.bound(question), 0);
    say(
      `oracle: ${questions.length} states for ${api.model} at ${endpointOf(api)}${api.price ? `, at most ${most.toFixed(2)} dollars` : ''}`,
    );
    const key = api.api_key_env === null ? null : (process.env[api.api_key_env] ?? null);
    const answers = await askAll(questions, {
      ...{ api, cache, ledger, run: this.#run, stopped },
      send: sender(api, key, redactor(key)),
      progress: (answered, total) => asking.progress(answered, total, ledger.metrics),
      trouble: tellSometimes((text) => say(`oracle: ${text}`)),
    });
    if (answers === null) {
      say(`oracle: stopped; what was answered is kept in ${cache.path}, ${ledger.words}`);
      return null;
    }
    say(`oracle: ${answers.length} answers, ${ledger.words}`);
    const traces = asked.map((a, i) => traceOf(a, answers[i]!.text, format));
    this.#tellUnread(traces, answers, say);
    await writeTraceFile(this.file, traces);
    return { traces: readTraceFile(this.file), metrics: ledger.metrics };
  }

  /** @throws OracleError where no answer has a score */
  #tellUnread(
    traces: readonly OracleTrace[],
    answers: readonly NonNullable<CacheLine['answer']>[],
    say: (text: string) => void,
  ): void {
    const readable = traces.filter(({ score }) => !Number.isNaN(score)).length;
    if (readable === traces.length) return;
    const empty = answers.filter(({ text }) => text.trim() === '').length;
    const refused = answers.filter(
      ({ finish }) => finish === 'refusal' || finish === 'content_filter',
    ).length;
    const cut = answers.filter(({ finish }) => finish === 'length').length;
    const { model, max_tokens } = this.#api;
    const unread = `${traces.length - readable} of ${traces.length} answers have no score that can be read`;
    const causes = `${empty} are empty, ${refused} were refused, ${cut} reached max_tokens (${max_tokens})`;
    say(`oracle: ${unread}: ${causes}`);
    if (readable > 0) return;
    throw new OracleError(
      `the oracle ${model} at ${endpointOf(this.#api)}: ${unread} (${causes}). The first: ${JSON.stringify(answers[0]!.text.slice(0, 200))}. ` +
        'Take a model that ends as the critic is asked to, or raise max_tokens',
    );
  }
}
