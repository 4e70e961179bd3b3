/** GenAC's public API. */

export { BridgeError } from './bridge/errors.ts';
export type { Config, ConfigInput, StageName } from './config.ts';
export { ConfigError } from './config-error.ts';
export { assignCredit, type CreditAssignment, type CreditOptions, segmentTrajectory } from './credit.ts';
export {
  type Critic,
  type CriticContext,
  type CriticEnvironment,
  type CriticPlugin,
  defineCritic,
} from './critic.ts';
export { checkConfig, loadConfigFile } from './load-config.ts';
export { segmentAdvantages, tokenAdvantages } from './math/advantage.ts';
export { criticReward, criticWeights } from './math/critic-reward.ts';
export { smoothSuccessRate } from './math/success-rate.ts';
export { type LoadedTask, loadTask } from './plugins.ts';
export { openPython, type Python, type PythonOptions } from './python/pythonia.ts';
export { type PythonFunctions, pythonFunctions, pythonWorkerSpec } from './python-functions.ts';
export { defineReward, type Reward, type Score } from './rewards.ts';
export { type ResumeOptions, type Run, type RunOptions, resumeRun, startRun } from './run.ts';
export { readCheckpoint } from './runs/checkpoint.ts';
export type { Place, RunEvent } from './runs/events.ts';
export { type MetricsLine, readMetrics, readSettings, readTrajectories } from './runs/read.ts';
export { isAlive, readStatus, type Status } from './runs/status.ts';
export type { Settings } from './settings.ts';
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
export {
  type JudgedPrefix,
  type JudgedResponse,
  type OpenCriticOptions,
  type OpenedCritic,
  openCritic,
  type Ranked,
} from './value/open-critic.ts';
export { startWorkers, type WorkerGroup } from './workers/local.ts';
export { Model } from './workers/model.ts';
export type { Worker } from './workers/worker.ts';
