/** Stage 1's traces from an oracle behind an API, gathered before its first step. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Config } from '../config.ts';
import { ConfigError } from '../config-error.ts';
import { knownSuccessRate } from '../evaluation/held-out.ts';
import { actorRollouts } from '../rollouts.ts';
import type { LoggedRollout, OracleTrace, Task } from '../task.ts';
import { paperFormat } from '../text/critic-prompt.ts';
import { readTraceFile, writeTraceFile } from '../traces.ts';
import { phase, type Standing, type Training } from '../training.ts';
import type { State } from '../types.ts';
import { askAll, OracleError } from './ask.ts';
import { AnswerCache } from './cache.ts';
import { Ledger } from './ledger.ts';
import { type ApiOptions, endpointOf } from './options.ts';
import { questionsOf, statesToAsk, traceOf } from './questions.ts';
import { sender } from './request.ts';
import { redactor } from './secrets.ts';

export interface Gathered {
  readonly traces: readonly OracleTrace[];
  /** Totals of the run: `oracle/cost`, ... */
  readonly metrics: Readonly<Record<string, number>>;
  readonly successRate: number | null;
}

/** The API that stage 1 asks; null: its traces come from elsewhere. */
export const apiOf = (config: Config): ApiOptions | null =>
  typeof config.critic_sft.traces === 'string' ? null : config.critic_sft.traces.api;

/** What can be known to be wrong before anything is loaded. @throws ConfigError */
export function checkOracle(api: ApiOptions, config: Config, task: Task): void {
  const where = 'critic_sft.traces.api';
  const problems: string[] = [];
  if (api.api_key_env !== null && !process.env[api.api_key_env]) {
    problems.push(
      `${where}.api_key_env: the environment variable ${api.api_key_env} is not set; put the key there (export ${api.api_key_env}=...), or set api_key_env: null for a server that asks for none`,
    );
  }
  if (!task.frozenRollouts && config.actor === null) {
    problems.push(
      `${where}: the oracle is asked about states of rollouts, but there is no actor, and the task "${task.name}" brings none: name an actor, or a file of them (task: {use: logged, file: ...})`,
    );
  }
  if (problems.length > 0) throw new ConfigError(problems);
}

/** @returns null: it was stopped before all was answered */
export async function gatherTraces(
  training: Training,
  api: ApiOptions,
  start: Standing,
): Promise<Gathered | null> {
  const { folder, critic, task, config, emit } = training;
  const format = task.criticFormat ?? paperFormat;
  const file = join(folder.path, 'oracle', 'traces.jsonl');
  const cache = new AnswerCache(
    api.cache === null ? join(folder.path, 'oracle', 'answers.jsonl') : resolve(api.cache),
    folder.path,
  );
  const ledger = new Ledger(api, cache.paid);
  const say = (text: string) => emit({ type: 'message', text });
  if (existsSync(file))
    return { traces: readTraceFile(file), metrics: ledger.metrics, successRate: start.successRate };
  if (cache.torn > 0) say(`oracle: ${cache.torn} lines of ${cache.path} can't be read, and are ignored`);
  const { rollouts, successRate } = await rolloutsToAsk(training, api.count, start);
  const asked = statesToAsk(rollouts, config.seed);
  const promptOf = critic.prompt?.bind(critic) ?? ((state: State) => format.prompt(state, state.actor, true));
  const questions = questionsOf(asked, promptOf);
  phase(training, 'critic-sft', start.iteration, 'ask the oracle');
  const most = questions.reduce((sum, question) => sum + ledger.bound(question), 0);
  say(
    `oracle: ${questions.length} states for ${api.model} at ${endpointOf(api)}${api.price ? `, at most ${most.toFixed(2)} dollars` : ''}`,
  );
  const key = api.api_key_env === null ? null : (process.env[api.api_key_env] ?? null);
  const redact = redactor(key);
  const answers = await askAll(questions, {
    ...{ api, cache, ledger, run: folder.path, stopped: () => training.stopping() },
    send: sender(api, key, redact),
    progress: (done, total) =>
      emit({
        type: 'progress',
        stage: 'critic-sft',
        iteration: start.iteration,
        done,
        total,
        metrics: ledger.metrics,
      }),
    trouble: tellSometimes(say),
  });
  if (answers === null) {
    say(`oracle: stopped; what was answered is kept in ${cache.path}, ${ledger.words}`);
    return null;
  }
  const traces = asked.map((a, i) => traceOf(a, answers[i]!.text, format));
  const readable = traces.filter(({ score }) => !Number.isNaN(score)).length;
  const unread = `${traces.length - readable} of ${traces.length} answers have no score that can be read`;
  const empty = answers.filter(({ text }) => text.trim() === '').length;
  const refused = answers.filter(({ finish }) => finish === 'refusal' || finish === 'content_filter').length;
  const cut = answers.filter(({ finish }) => finish === 'length').length;
  const causes = `${empty} are empty, ${refused} were refused, ${cut} reached max_tokens (${api.max_tokens})`;
  say(`oracle: ${traces.length} answers, ${ledger.words}`);
  if (readable < traces.length) say(`oracle: ${unread}: ${causes}`);
  if (readable === 0) {
    throw new OracleError(
      `the oracle ${api.model} at ${endpointOf(api)}: ${unread} (${causes}). The first: ${JSON.stringify(answers[0]!.text.slice(0, 200))}. ` +
        'Take a model that ends as the critic is asked to, or raise max_tokens',
    );
  }
  await writeTraceFile(file, traces);
  return { traces: readTraceFile(file), metrics: ledger.metrics, successRate };
}

/** The task's own rollouts, else those of the actor as it is. */
async function rolloutsToAsk(
  training: Training,
  count: number,
  start: Standing,
): Promise<{ rollouts: readonly LoggedRollout[]; successRate: number | null }> {
  const { task, config } = training;
  const { successRate } = start;
  if (task.frozenRollouts)
    return { rollouts: task.frozenRollouts('train', config.seed, 0, count), successRate };
  phase(training, 'critic-sft', start.iteration, 'sample');
  const known = await knownSuccessRate(training, start);
  const rollouts = await actorRollouts(training, 'train', 0, count, 1, 'oracle', known);
  return { rollouts, successRate: known };
}

/** Tells of troubles, every few seconds at the most. */
function tellSometimes(say: (text: string) => void): (text: string) => void {
  let last = Number.NEGATIVE_INFINITY;
  let untold = 0;
  return (text) => {
    if (performance.now() - last < 5000) {
      untold++;
      return;
    }
    last = performance.now();
    say(`oracle: ${text}${untold > 0 ? ` (and ${untold} more failed tries)` : ''}`);
    untold = 0;
  };
}
