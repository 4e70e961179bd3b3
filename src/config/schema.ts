/** The one schema of a run, with all defaults. Names are those of the YAML file. */
import { z } from 'zod';
import { loraSchema, optimizerSchema } from '../bridge/model-options.ts';
import { importanceModes } from '../math/importance-sampling.ts';
import { segmentationSchema } from '../text/segment.ts';
import { loadingFields } from '../workers/loading.ts';
import { apiSchema } from './api.ts';
import { logSchema } from './log.ts';
import { rewardSchema } from './rewards.ts';

export const share = z.number().min(0).max(1);
/** A larger number is a typing error. */
const MOST = 1e9;
export const count = z.int().nonnegative().max(MOST);
export const positive = z.int().positive().max(MOST);
const seed = z.int().nonnegative();
/**
 * AdamW's learning rate. Below the range, no float32 weight moves, which ends a run; above it, no
 * weight keeps what it learned.
 */
const learningRate = z.number().min(1e-12).max(1);
/**
 * Below the range, divided logits leave the range of float32; above it, all tokens are equally
 * likely.
 */
export const temperature = z.number().min(1e-3).max(100);

/** Corrects for an engine that samples by other log-probabilities than the trained weights have. */
export const importanceSampling = z.strictObject({
  /** Of each token or of the whole response; above the cap it is cut, or counts for nothing. */
  mode: z.enum(importanceModes).default('token_truncate'),
  cap: z.number().min(1).max(1e3).default(2),
});

/** A plugin by name, a user's file (a path that begins with `.` or `/`), or either with options. */
export const plugin = z.union([z.string().min(1), z.looseObject({ use: z.string().min(1) })]);

const scheduleFields = {
  /** Peak learning rate. */
  learning_rate: learningRate,
  decay: z.enum(['constant', 'linear', 'cosine']),
  /** Steps of linear warm-up. */
  warmup: count,
  /** Share of the peak at the end. */
  min_lr_ratio: share,
};

const worker = z.strictObject({
  /**
   * GPUs that the worker sees (CUDA_VISIBLE_DEVICES), e.g. `0`; null: all. It computes on the
   * first; the others are for a vLLM that uses several.
   */
  devices: z.string().min(1).nullable().default(null),
  /** CPU threads; null: PyTorch's choice. */
  threads: positive.nullable().default(null),
});

/** Every config has these workers; those that it does not name have the defaults. */
const usual = () => worker.parse({});
const workers = z
  .record(z.string(), worker)
  .prefault({})
  .transform((given): typeof given => ({
    actor: usual(),
    critic: usual(),
    python: usual(),
    ...given,
  }));

const actor = z.strictObject({
  /** Folder in Hugging Face format, Hub name, or `task:NAME` for a model that the task makes. */
  model: z.string().min(1),
  worker: z.string().default('actor'),
  /** The actor's name in ICC. null: the model's name. */
  name: z.string().nullable().default(null),
  dtype: z.enum(['auto', 'float32', 'bfloat16']).default('auto'),
  ...loadingFields,
  lora: loraSchema.nullable().default(null),
  optimizer: optimizerSchema.prefault({ betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }),
  learning_rate: learningRate.default(1e-6),
  decay: z.enum(['constant', 'linear', 'cosine']).default('constant'),
  warmup: count.default(0),
  min_lr_ratio: share.default(0),
  max_grad_norm: z.number().positive().nullable().default(1),
  /** PPO: ratios are clipped to [1 - clip_low, 1 + clip_high]. */
  clip_low: share.default(0.2),
  clip_high: z.number().nonnegative().default(0.2),
  /** Passes over an iteration's trajectories. */
  epochs: positive.default(1),
  /** Optimizer steps of one pass. */
  minibatches: positive.default(1),
  /**
   * Weight of the KL to the initial actor; 0: no reference model is loaded. The estimator k3, as in
   * GRPO: its value estimates KL(actor || initial), its gradient is that of KL(initial || actor).
   */
  kl: z.number().nonnegative().default(0),
  entropy: z.number().nonnegative().default(0),
  /**
   * Log-probabilities that PPO's ratios start from: those of the `sampler`, or `recomputed` by the
   * trained weights before the first update, where the sampler computes otherwise.
   */
  old_logprobs: z.enum(['sampler', 'recomputed']).default('sampler'),
  /** With `recomputed`: corrects for the sampler by importance sampling; null: it does not. */
  importance_sampling: importanceSampling.nullable().default(null),
  /**
   * Largest KL (nats per token) of the sampler's log-probabilities to the trained ones before any
   * update; null: what rounding explains, .001 in float32 and .01 in bfloat16.
   */
  max_sampling_kl: z.number().positive().nullable().default(null),
});

export const sampling = z.strictObject({
  /** Problems of one iteration. */
  batch_size: positive.default(128),
  /** Responses to each problem. */
  num_generations: positive.default(8),
  max_new_tokens: positive.default(1024),
  temperature: temperature.default(1),
  top_p: z.number().positive().max(1).nullable().default(null),
  top_k: positive.nullable().default(null),
  stop_strings: z.array(z.string().min(1)).default([]),
  /**
   * Largest number of tokens of a prompt; null: what `max_new_tokens` leaves of the actor's
   * context.
   */
  max_prompt_tokens: positive.nullable().default(null),
  /**
   * Longer prompts are an error, or their problems are dropped and counted (`problems/overlong`).
   * Nothing is ever cut.
   */
  overlong_prompts: z.enum(['error', 'drop']).default('error'),
  /** Number of trajectories of each iteration in `trajectories.jsonl`, with every valuation. */
  record: count.default(4),
});

export const credit = z.strictObject({
  gamma: share.default(1),
  /**
   * Of GAE. `{length_adaptive: alpha}`: 1 - 1 / (alpha l) for each token of a response of l tokens
   * (VAPO, arXiv 2504.05118, with alpha .05).
   */
  lambda: z
    .union([share, z.strictObject({ length_adaptive: z.number().positive().max(1e3) })])
    .default(1),
  /**
   * Divisor of the advantages. `batch-std`: their root mean square over the batch's tokens.
   * `group-std`: the deviation of the group's rewards, as in GRPO, for the group mean as baseline.
   */
  scale: z.enum(['none', 'batch-std', 'group-std']).default('batch-std'),
  /** null: the task's own, else by sentence. */
  segmentation: segmentationSchema.nullable().default(null),
});

export const icc = z.strictObject({
  /** m of the smoothed success rate p <- m p + (1 - m) mean(r). */
  momentum: z.number().min(0).lt(1).default(0.8),
  /**
   * Rollouts of the starting actor that measure its success rate before the first iteration; 0:
   * unknown until then.
   */
  warm_rollouts: count.default(256),
});

export const criticSft = z.strictObject({
  /**
   * `oracle`: the task's rule-based oracle. A path: a JSONL file of traces. `{api: {...}}`: a model
   * behind an API (docs/oracles.md).
   */
  traces: z.union([z.string().min(1), z.strictObject({ api: apiSchema })]).default('oracle'),
  batch: positive.default(64),
  /** Largest number of steps at constant rate. */
  steps: positive.default(1000),
  /** Steps of the final decay to `min_lr_ratio`. */
  cooldown: count.default(200),
  learning_rate: learningRate.default(1e-5),
  warmup: count.default(50),
  min_lr_ratio: share.default(0.05),
  max_grad_norm: z.number().positive().nullable().default(1),
  /**
   * Loss of held-out rationales (nats per token) at which the cool-down begins; null: by steps
   * alone.
   */
  stop_at_rationale_loss: z.number().positive().nullable().default(null),
  /** A trace is dropped if |score / 10 - observed success| is larger. */
  agreement: share.default(0.8),
  /** Steps between evaluations on held-out traces. */
  evaluate_every: positive.default(50),
});

export const criticRl = z.strictObject({
  steps: positive.default(60),
  /** Responses of one step. */
  states: positive.default(256),
  /** States of each response that the critic learns from: one drawn at random, or all of them. */
  states_per_response: z.enum(['one', 'all']).default('one'),
  /** The critic that the stage ends with: of the least held-out error, or the last one. */
  keep: z.enum(['best', 'last']).default('best'),
  /**
   * Share of the states that come from the current actor; the rest come from the task's own frozen
   * actors. 1 if the task has none.
   */
  actor_share: share.default(0),
  ...scheduleFields,
  learning_rate: learningRate.default(1e-6),
  decay: scheduleFields.decay.default('linear'),
  warmup: count.default(5),
  min_lr_ratio: share.default(0.1),
  max_grad_norm: z.number().positive().nullable().default(1),
  evaluate_every: positive.default(20),
});

export const joint = z.strictObject({
  steps: positive.default(100),
  /** `learn`: the critic learns too. `frozen`: it stays as it is. */
  critic: z.enum(['learn', 'frozen']).default('learn'),
  ...scheduleFields,
  /** The critic's learning rate. */
  learning_rate: learningRate.default(1e-6),
  decay: scheduleFields.decay.default('constant'),
  warmup: count.default(0),
  min_lr_ratio: share.default(0),
  max_grad_norm: z.number().positive().nullable().default(1),
  schedule: z.enum(['synchronous', 'pipelined']).default('synchronous'),
});

const gates = z.strictObject({
  /** Thresholds for held-out states; joint training starts only if the critic passes. */
  joint: z
    .strictObject({
      parse_rate: share.default(0.9),
      /** Largest held-out error, as a share of the error of the best constant. */
      mse_against_mean: z.number().positive().default(1),
    })
    .nullable()
    .prefault({}),
  /**
   * Use the group mean as the value while the critic's explained variance on the batch is not above
   * 0, or none of its scores is valid.
   */
  explained_variance: z.boolean().default(true),
});

const evaluation = z.strictObject({
  /** Iterations between evaluations; 0: only at the start and the end of a stage. */
  every: count.default(10),
  /**
   * Held-out problems, and k responses to each: success is pass@1 (their mean), and with k > 1 also
   * pass@k.
   */
  prompts: positive.default(128),
  num_generations: positive.default(1),
  /** Also sample one greedy response to each problem. */
  greedy: z.boolean().default(false),
  /** Held-out states for the critic's error. */
  states: positive.default(512),
  /**
   * Continuations of each state, whose mean reward is its reference value if the task has no exact
   * one; 0: the one outcome.
   */
  continuations: count.default(0),
});

/** In the order of a run. */
export const stageNames = ['critic-sft', 'critic-rl', 'joint'] as const;
const order = (stage: StageName) => stageNames.indexOf(stage);

export const configSchema = z.strictObject({
  /** The run's folder. */
  folder: z.string().min(1),
  seed: seed.default(0),
  stages: z
    .array(z.enum(stageNames))
    .min(1)
    .refine(
      (stages) => stages.every((stage, i) => i === 0 || order(stages[i - 1]!) < order(stage)),
      {
        message: 'each stage at most once, in the order critic-sft, critic-rl, joint',
      },
    )
    .default(['critic-sft', 'critic-rl', 'joint']),
  /**
   * A checkpoint folder of another run; the first stage starts from its models (and success rate).
   */
  start_from: z.string().nullable().default(null),
  task: plugin,
  /** Reward functions that replace the task's own reward; empty: the task's own. */
  rewards: z.array(rewardSchema).default([]),
  critic: plugin,
  /** null: no actor; stages 1 and 2 need none if the task has its own rollouts. */
  actor: actor.nullable(),
  workers,
  sampling: sampling.prefault({}),
  credit: credit.prefault({}),
  icc: icc.prefault({}),
  critic_sft: criticSft.prefault({}),
  critic_rl: criticRl.prefault({}),
  joint: joint.prefault({}),
  gates: gates.prefault({}),
  evaluation: evaluation.prefault({}),
  /** Loggers that also receive the metrics; see docs/loggers.md. */
  log: logSchema,
  checkpoints: z
    .strictObject({
      /** Iterations of a stage between checkpoints; 0: only by `minutes`. */
      every: count.default(0),
      /** Also write a checkpoint after this many minutes since the last one; null: not by time. */
      minutes: z.number().positive().nullable().default(15),
      /**
       * Number of checkpoints within a stage that stay, the newest ones. Those at the ends of
       * stages all stay.
       */
      keep: positive.default(2),
      /** Stage 3: keep the models of the best held-out success as `checkpoints/best`. */
      best: z.boolean().default(true),
    })
    .prefault({}),
});

export type Config = z.infer<typeof configSchema>;
export type ConfigInput = z.input<typeof configSchema>;
export type StageName = (typeof stageNames)[number];
