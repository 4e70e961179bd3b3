/** GenAC's public API. */

export { BridgeError } from './bridge/errors.ts';
export type { Worker } from './bridge/worker.ts';
export { ConfigError } from './config/error.ts';
export { checkConfig, loadConfigFile } from './config/load.ts';
export type { Config, ConfigInput, StageName } from './config/schema.ts';
export type { Settings } from './config/settings.ts';
export { assignCredit, type CreditAssignment, type CreditOptions, segmentTrajectory } from './credit.ts';
export {
  type Critic,
  type CriticContext,
  type CriticEnvironment,
  type CriticPlugin,
  defineCritic,
} from './critic.ts';
export { type LoadedTask, loadTask } from './extensions/find-plugin.ts';
export { segmentAdvantages, tokenAdvantages } from './math/advantage.ts';
export { criticReward, criticWeights } from './math/critic-reward.ts';
export { smoothSuccessRate } from './math/success-rate.ts';
export { openPython, type Python, type PythonOptions } from './python/pythonia.ts';
export { defineReward, type Reward, type Score } from './rewards/judge.ts';
export { type ResumeOptions, type Run, type RunOptions, resumeRun, startRun } from './run/run.ts';
export { readCheckpoint } from './run-folder/checkpoint.ts';
export type { Place, RunEvent } from './run-folder/events.ts';
export { type MetricsLine, readMetrics, readSettings, readTrajectories } from './run-folder/read.ts';
export { isAlive, readStatus, type Status } from './run-folder/status.ts';
export {
  type JudgedPrefix,
  type JudgedResponse,
  type OpenCriticOptions,
  type OpenedCritic,
  openCritic,
  type Ranked,
} from './standalone/open-critic.ts';
export {
  defineTask,
  type LoggedRollout,
  type OracleTrace,
  type Task,
  type TaskEnvironment,
  type TaskPlugin,
} from './task.ts';
export { buildCriticPrompt, type CriticFormat, paperFormat, parameterCount } from './text/critic-prompt.ts';
export { parseScore } from './text/score.ts';
export {
  type BudgetedSegmentation,
  type Segmentation,
  segmentResponse,
  textBefore,
} from './text/segment.ts';
export type * from './types.ts';
export { startWorkers, type WorkerGroup } from './workers/local.ts';
export { Model } from './workers/model.ts';
export { type PythonFunctions, pythonFunctions, pythonWorkerSpec } from './workers/python-functions.ts';
