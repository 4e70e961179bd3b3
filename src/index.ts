/** GenAC's public API: what plugins may import, and what scripts steer runs by. */

export type { Worker } from './bridge/worker.ts';
export type { Figure, Measured } from './comparison/bootstrap.ts';
export type { EvaluationInput } from './comparison/config.ts';
export { type EvaluationOptions, evaluate } from './comparison/evaluate.ts';
export { evaluationOfRuns } from './comparison/of-runs.ts';
export type { CriticResult, DistributionResult, EvaluationResult } from './comparison/result.ts';
export { ConfigError } from './config/error.ts';
export { checkConfig, loadConfigFile } from './config/load.ts';
export type { Config, ConfigInput, StageName } from './config/schema.ts';
export type { Settings } from './config/settings.ts';
export {
  assignCredit,
  type CreditAssignment,
  type CreditOptions,
  segmentTrajectory,
} from './credit.ts';
export { type LoadedTask, loadTask } from './extensions/find-plugin.ts';
export { segmentAdvantages, tokenAdvantages } from './math/advantage.ts';
export * from './plugin-api.ts';
export { openPython, type Python, type PythonOptions } from './python/pythonia.ts';
export { type ReproduceOptions, reproduce } from './reproduction/reproduce.ts';
export { type ResumeOptions, type Run, type RunOptions, resumeRun, startRun } from './run/run.ts';
export { readCheckpoint } from './run-folder/checkpoint.ts';
export type { RunEvent, StagePosition } from './run-folder/events.ts';
export {
  type MetricsLine,
  readMetrics,
  readSettings,
  readTrajectories,
} from './run-folder/read.ts';
export { isAlive, readStatus, type Status } from './run-folder/status.ts';
export {
  type OpenCriticOptions,
  type OpenedCritic,
  openCritic,
  type Ranked,
  type ValuedPrefix,
  type ValuedResponse,
} from './standalone/open-critic.ts';
export { startWorkers, type WorkerGroup } from './workers/local.ts';
export {
  type PythonFunctions,
  pythonFunctions,
  pythonWorkerSpec,
} from './workers/python-functions.ts';
