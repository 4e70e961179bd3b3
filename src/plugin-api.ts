/**
 * All that a task, a critic or a reward function may import, built in or a user's own (by the name
 * `genac`). These names are stable; all other modules may change at any time.
 */
export { ApiClient, type ApiUsage } from './api/client.ts';
export { BridgeError } from './bridge/errors.ts';
export { loraSchema, optimizerSchema } from './bridge/model-options.ts';
export { valuesOf } from './checked-critic.ts';
export { apiFields, apiRules } from './config/api.ts';
export { ConfigError, DataError, nearest } from './config/error.ts';
export { importanceSampling, temperature } from './config/schema.ts';
export {
  type Continuation,
  type Continuations,
  type CreatedCritic,
  type Critic,
  type CriticChoice,
  type CriticContext,
  type CriticEnvironment,
  type CriticModelOptions,
  type CriticPlugin,
  type CriticTraits,
  defineCritic,
  type StandaloneOptions,
  type UpdateMetrics,
  type UpdateOptions,
} from './critic.ts';
export { forEachYielding, mapInParts, mapYielding, type Sliceable } from './event-loop.ts';
export { LONGEST_LINE } from './files/json-lines.ts';
export { isWrittenAsPath, pathFrom } from './files/paths.ts';
export {
  type LanguageModel,
  type Learner,
  promptsOfRequest,
  type Sampled,
  type SampleRequest,
  type Sampler,
  SEQUENCES_PER_REQUEST,
  type StreamValues,
} from './language-model.ts';
export {
  type CriticBaseline,
  criticBaselines,
  criticReward,
  criticWeights,
  stateWeights,
} from './math/critic-reward.ts';
export {
  type ImportanceSampling,
  importanceWeights,
  RatioSummary,
  SamplingGapSummary,
} from './math/importance-sampling.ts';
export { learningRate } from './math/learning-rate.ts';
export { deriveSeed, Random } from './math/random.ts';
export { groupBy, mean } from './math/statistics.ts';
export { smoothSuccessRate } from './math/success-rate.ts';
export { toUnit } from './math/unit.ts';
export { valueAt } from './rewards/columns.ts';
export { defineReward, type Reward, type Score } from './rewards/reward.ts';
export { readTraceFile } from './stages/traces.ts';
export { textState } from './state.ts';
export {
  type ActorProbe,
  defineTask,
  type ModelTools,
  type OracleTrace,
  type Response,
  type Rollout,
  type Split,
  type Task,
  type TaskEnvironment,
  type TaskPlugin,
} from './task.ts';
export {
  buildCriticPrompt,
  type CriticFormat,
  paperFormat,
  parameterCount,
  plainRationale,
  promptText,
  readScore,
  writeTrace,
} from './text/critic-prompt.ts';
export { parseScore } from './text/score.ts';
export {
  type BudgetedSegmentation,
  type Segmentation,
  segmentResponse,
  textBefore,
} from './text/segment.ts';
export { needsTokens, prefixesOfText } from './text/segment-text.ts';
export type * from './types.ts';
export { UserError } from './user-error.ts';
export { loadingFields, loadingOf } from './workers/loading.ts';
export type { PythonFunctions } from './workers/python-functions.ts';
export { WorkerModel } from './workers/worker-model.ts';
