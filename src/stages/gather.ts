/** Stage 1's traces from an oracle behind an API, gathered before its first step. */
import { join } from 'node:path';
import { type ApiOptions, keyFaults } from '../config/api.ts';
import { ConfigError } from '../config/error.ts';
import type { Config } from '../config/schema.ts';
import { knownSuccessRate } from '../evaluation/held-out.ts';
import { phase, type StageState, type Training } from '../iteration/context.ts';
import { actorRollouts } from '../iteration/rollouts.ts';
import type { Rollout, Task } from '../task.ts';
import { paperFormat } from '../text/critic-prompt.ts';
import { Oracle, type OracleTraces } from './oracle.ts';

export interface Gathered extends OracleTraces {
  readonly successRate: number | null;
}

/** The API that stage 1 asks; null: its traces come from elsewhere. */
export const apiOf = (config: Config): ApiOptions | null =>
  typeof config.critic_sft.traces === 'string' ? null : config.critic_sft.traces.api;

/** What can be known to be wrong before anything is loaded. @throws ConfigError */
export function checkOracle(api: ApiOptions, config: Config, task: Task): void {
  const where = 'critic_sft.traces.api';
  const problems = keyFaults(api, where);
  if (!task.frozenRollouts && config.actor === null) {
    problems.push(
      `${where}: the oracle is asked about states of rollouts, but there is no actor, and ` +
        `the task "${task.name}" brings none: name an actor, or a file of them (task: {use: ` +
        'logged, file: ...})',
    );
  }
  if (problems.length > 0) throw new ConfigError(problems);
}

/** @returns null: it was stopped before all was answered */
export async function gatherTraces(
  training: Training,
  api: ApiOptions,
  start: StageState,
): Promise<Gathered | null> {
  const { folder, critic, task, config, emit } = training;
  const oracle = new Oracle(api, join(folder.path, 'oracle'), folder.path);
  const { successRate } = start;
  const kept = oracle.kept();
  if (kept) return { ...kept, successRate };
  const say = (text: string) => emit({ type: 'message', text });
  const asked = await rolloutsToAsk(training, api.count, start);
  phase(training, 'critic-sft', start.iteration, 'ask the oracle');
  const format = task.criticFormat ?? paperFormat;
  const traces = await oracle.ask(asked.rollouts, {
    ...{ seed: config.seed, critic, format, say },
    stopped: () => training.stopping(),
    progress: (done, total, metrics) =>
      emit({
        type: 'progress',
        stage: 'critic-sft',
        iteration: start.iteration,
        done,
        total,
        metrics,
      }),
  });
  return traces && { ...traces, successRate: asked.successRate };
}

/** The task's own rollouts, else those of the actor as it is. */
async function rolloutsToAsk(
  training: Training,
  count: number,
  start: StageState,
): Promise<{ rollouts: readonly Rollout[]; successRate: number | null }> {
  const { task, config } = training;
  const { successRate } = start;
  if (task.frozenRollouts)
    return { rollouts: task.frozenRollouts('train', config.seed, 0, count), successRate };
  phase(training, 'critic-sft', start.iteration, 'sample');
  const known = await knownSuccessRate(training, start);
  const rollouts = await actorRollouts(training, 'train', 0, count, 1, 'oracle', known);
  return { rollouts, successRate: known };
}
