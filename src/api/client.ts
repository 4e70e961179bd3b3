/** A model behind an API, for critics: questions in, answers out. Paid answers stay in a file. */
import { join } from 'node:path';
import { type ApiModel, keyFaults } from '../config/api.ts';
import { ConfigError } from '../config/error.ts';
import { redactor } from '../config/secrets.ts';
import { pathFrom } from '../files/paths.ts';
import { askAll, REFUSED, Traffic } from './ask.ts';
import { AnswerCache, type Question } from './cache.ts';
import { CostLimit, Ledger } from './ledger.ts';
import { type Send, sender } from './request.ts';
import { tellSometimes } from './tell-sometimes.ts';

export interface ApiClientParts {
  /** Folder of the answers, unless `cache` of the options names a file. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly log: (text: string) => void;
}

/** Tokens and dollars; all are sums. */
export interface ApiUsage {
  readonly answers: number;
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly cost?: number;
}

export class ApiClient {
  readonly #api: ApiModel;
  readonly #parts: ApiClientParts;
  readonly #cache: AnswerCache;
  readonly #ledger: Ledger;
  readonly #send: Send;
  readonly #traffic = new Traffic();
  readonly #trouble: (text: string) => void;
  #limit: string | null = null;

  /** @throws ConfigError if the key's environment variable is not set */
  constructor(api: ApiModel, parts: ApiClientParts) {
    const faults = keyFaults(api, 'critic');
    if (faults.length > 0) throw new ConfigError(faults);
    this.#api = api;
    this.#parts = parts;
    const key = api.api_key_env === null ? null : (process.env[api.api_key_env] ?? null);
    this.#send = sender(api, key, redactor(key));
    this.#trouble = tellSometimes((text) => parts.log(`critic: ${text}`));
    const file =
      api.cache === null ? join(parts.folder, 'answers.jsonl') : pathFrom('.', api.cache);
    this.#cache = new AnswerCache(file, parts.folder);
    this.#ledger = new Ledger(api, this.#cache.paid);
  }

  /**
   * The answers in the order of the questions, null for a question that the server refused. null
   * alone: they were not all asked, because the cost limit would have been exceeded; the log says
   * so once. Simultaneous calls share `concurrency`, and equal questions of theirs are sent once.
   *
   * @throws OracleError if a question can't be answered; the signal's reason if it is aborted
   */
  async ask(questions: readonly Question[]): Promise<readonly (string | null)[] | null> {
    if (this.#limit !== null) return null;
    const { signal, log } = this.#parts;
    try {
      const answers = await askAll(questions, {
        ...{ api: this.#api, cache: this.#cache, ledger: this.#ledger, run: this.#parts.folder },
        ...{ send: this.#send, traffic: this.#traffic },
        who: 'the critic',
        stopped: () => signal.aborted,
        progress: () => {},
        trouble: this.#trouble,
      });
      signal.throwIfAborted();
      return answers!.map((answer) => (answer === REFUSED ? null : answer.text));
    } catch (error) {
      if (!((error as Error).cause instanceof CostLimit)) throw error;
      const told = this.#limit !== null;
      this.#limit = ((error as Error).cause as Error).message;
      if (!told)
        log(
          `critic: ${this.#limit}. From now on it values nothing, and the group mean is the value`,
        );
      return null;
    }
  }

  /** Of this run so far. */
  get usage(): ApiUsage {
    const { metrics } = this.#ledger;
    return {
      answers: metrics['oracle/answers']!,
      input_tokens: metrics['oracle/input_tokens']!,
      output_tokens: metrics['oracle/output_tokens']!,
      ...('oracle/cost' in metrics && { cost: metrics['oracle/cost'] }),
    };
  }
}
