/**
 * What a host asks of the controller: a trainer that samples and optimizes by itself (TRL), and
 * lets the controller value its responses and assign the credit. Arguments and results travel in
 * the msgpack header, numbers in bulk beside it as tensors (ragged ones with `cu_seqlens`), as in
 * `operations.ts`.
 *
 * Terms: N = trajectories, T = tokens of all their responses.
 */
import { z } from 'zod';
import { promptSchema } from './operations.ts';

const count = z.int().nonnegative();
const metrics = z.record(z.string(), z.number());
const path = z.string().min(1);
const range = z.tuple([z.number(), z.number()]);

const actor = z.strictObject({ name: z.string().min(1), parameters: count });

/**
 * First of all, once: reads the config, starts the critic's worker, loads the critic. No tensors.
 */
const open = {
  arguments: z.strictObject({
    /** YAML file of the controller's config (docs/trl.md), or null. */
    config_file: path.nullable(),
    /**
     * What goes before the file, in its shape: `{critic: {model: ...}, credit: {lambda: 0.95}}`.
     */
    options: z.record(z.string(), z.json()),
    /** Folder that paths in `options` are relative to. */
    base: path,
    /** Folder for the workers' logs. */
    logs: path,
    /**
     * The actor's profile for In-Context Conditioning; null: `set_actor` sends it later.
     */
    actor: actor.nullable(),
    /** The most tokens that a response can have: segments are spread over them. null: not known. */
    max_new_tokens: z.int().positive().nullable().default(null),
    /** May code run that the config of the run names in which the critic's model lies? */
    trust_code: z.boolean().default(false),
    /**
     * The host's own checkpoint (`model` and how it is read), for a critic that needs a model if
     * neither the options nor the file name one.
     */
    critic_default: z.record(z.string(), z.json()).default({}),
    /** Can this host continue responses (`continue_responses`)? */
    continues: z.boolean().default(false),
  }),
  result: z.strictObject({
    critic: z.string(),
    /** `outcomes`: the critic's values come from the rewards of the group alone. */
    needs: z.enum(['states', 'outcomes']),
    /** Can it be trained? */
    learns: z.boolean(),
    pids: z.array(count),
  }),
};

/** The actor, where `open` could not know it yet: before anything is valued. No tensors. */
const setActor = { arguments: actor, result: z.strictObject({}) };

/** One segment of a response as it was valued. */
const valued = z.strictObject({
  /** UTF-16 units of the response's text before the segment. */
  from: count,
  tokens: count,
  value: z.number(),
  advantage: z.number(),
  parsed: z.enum(['ok', 'malformed']),
  /** The critic was not asked: the value is that of the last state before it that was. */
  inherited: z.boolean(),
  rationale: z.string(),
});

/**
 * Credit of one batch of trajectories. The critic's update on this batch starts after the reply;
 * the next request waits for it.
 * In:  `completion_ids` int32 [T], `cu_seqlens` int32 [N+1], `text_ends` int32 [T] (UTF-16 units of
 *      the text that are complete after each token),
 *      `problems` int32 [N] (index into `prompts`; the trajectories of one problem are a group),
 *      `rewards` float64 [N] in [0, 1]; and where known
 *      `actor_mask` uint8 [T] (0: the actor did not write the token), `logprobs` float32 [T],
 *      `prompt_ids` int32 and `prompt_cu_seqlens` int32 [P+1] (the exact ids of each entry of
 *      `prompts`).
 * Out: `advantages` float32 [T].
 */
const assignCredit = {
  arguments: z.strictObject({
    /**
     * `joint`: actor and critic learn; `critic-rl`: the critic alone; `evaluation`: nobody. Values
     * are sampled in all three.
     */
    purpose: z.enum(['joint', 'critic-rl', 'evaluation']),
    /** Of the purpose, from 0: draws and learning rates depend on it. */
    iteration: count,
    /** How many there will be; null: not known, and learning rates don't decay. */
    iterations: z.int().positive().nullable(),
    prompts: z.array(promptSchema),
    texts: z.array(z.string()),
    /** Did the response end by itself? */
    finished: z.array(z.boolean()),
    /**
     * What advantages are divided by: nothing; their root mean square over the batch; or the
     * deviation of the group's rewards, which is for batches whose baseline is the group's mean (a
     * critic that values from outcomes, or a gate that closed) and means `batch-std` for others.
     */
    scale: z.enum(['none', 'batch-std', 'group-std']),
    /** The reply has the valuations of this many trajectories, from the first. */
    report: count,
  }),
  result: z.strictObject({
    /** Of this batch, and of the critic's update before it. */
    metrics,
    valuations: z.array(z.array(valued)),
  }),
};

/** Values of the last state of each of these partial responses. Out: `values` float64 [N]. */
const value = {
  arguments: z.strictObject({
    prompts: z.array(promptSchema),
    /** One for each prompt. */
    responses: z.array(z.string()),
    /** By the critic's likeliest completion; false: as in training. */
    greedy: z.boolean().default(true),
  }),
  result: z.strictObject({
    rationales: z.array(z.string()),
    parsed: z.array(z.enum(['ok', 'malformed'])),
  }),
};

/** Waits for the critic's running update, if any, and returns its metrics. */
const fence = { arguments: z.strictObject({}), result: z.strictObject({ metrics }) };

/**
 * Stage 1's oracle, a model behind an API (docs/oracles.md), before responses are sampled for it:
 * options and key are checked. Its answers and traces lie in `folder`.
 */
const openOracle = {
  arguments: z.strictObject({
    /** As `critic_sft.traces.api` of a run. */
    api: z.record(z.string(), z.json()),
    folder: path,
    /** Are traces that lie there already those that are wanted? */
    resume: z.boolean(),
  }),
  result: z.strictObject({
    /** How many trajectories it is to be asked about. */
    count: z.int().positive(),
    /** The traces that lie there already; null: `ask_oracle` comes next. */
    traces: path.nullable(),
  }),
};

/**
 * Asks it about one state of each of these trajectories. In: the tensors of `assign_credit`. Tells
 * each answer in a `partial`: `data = {done, total, metrics}`. The success rate of the actor, where
 * it is not known yet, is these trajectories' mean reward.
 */
const askOracle = {
  arguments: assignCredit.arguments.pick({ prompts: true, texts: true, finished: true }),
  result: z.strictObject({ traces: path, metrics }),
};

/**
 * Stage 1 from a JSONL file of traces (docs/oracles.md), or from the task's own oracle (`oracle`);
 * `critic_sft` of the config says how. Goes on with these traces where the last call or `restore`
 * left off, until they are done. Tells each step in a `partial`: `data = {step, steps, metrics}`.
 */
const imitate = {
  arguments: z.strictObject({
    traces: path,
    /** Steps in this call; null: all. */
    at_most: z.int().positive().nullable(),
  }),
  result: z.strictObject({ step: count, done: z.boolean(), metrics }),
};

/** As in a run (`config.ts`). */
const stage = z.enum(['critic-sft', 'critic-rl', 'joint']);

/**
 * Writes the critic (with `optimizer` all that exact continuation needs) and the controller's state
 * to `folder`, in the place of what is there.
 */
const save = {
  arguments: z.strictObject({
    folder: path,
    optimizer: z.boolean(),
    stage,
    /** Batches or steps of the stage that are behind it. */
    iteration: count,
    /**
     * Does the stage end here? Then the next one begins with a fresh optimizer, here as after
     * `restore`.
     */
    complete: z.boolean(),
    /** Least and largest reward so far, where the host may learn the range; kept for `restore`. */
    reward_range: range.nullable().default(null),
  }),
  result: z.strictObject({}),
};

/** The critic and the controller's state as `save` wrote them with `optimizer`. */
const restore = {
  arguments: z.strictObject({ folder: path }),
  result: z.strictObject({
    stage,
    iteration: count,
    complete: z.boolean(),
    success_rate: z.number().nullable(),
    reward_range: range.nullable(),
  }),
};

export const hostOperations = {
  open,
  set_actor: setActor,
  assign_credit: assignCredit,
  value,
  fence,
  open_oracle: openOracle,
  ask_oracle: askOracle,
  imitate,
  save,
  restore,
};

/**
 * The actor continues states of the batch whose credit is being assigned: it samples `count`
 * completions of each, and the host's reward functions score the whole responses. The host learns
 * nothing from them.
 * In:  `rows` int32 [S] (index of a row of the batch as it was sent, whose prompt the state has),
 *      `prefix_ids` int32 [T] and `prefix_cu_seqlens` int32 [S+1] (ids of the response so far; may
 *      be empty).
 * Out, for the completions `count * s` to `count * s + count - 1` of each state s: `rewards`
 * float64
 *      [S*count] in [0, 1] (NaN: no reward function applied), `completion_ids` int32 and
 *      `completion_cu_seqlens` int32 [S*count+1] (new tokens only; none where the prefix has
 *      ended or has the most tokens that a response can have).
 */
const continueResponses = {
  arguments: z.strictObject({
    count: z.int().positive(),
    /** Equal seeds, states and weights give equal completions, where the host's sampler does. */
    seed: count,
  }),
  /** Whole responses, prefix included. */
  result: z.strictObject({ texts: z.array(z.string()) }),
};

/** What the controller asks of a host while it serves the host's `assign_credit`. */
export const reverseOperations = { continue_responses: continueResponses };

export type ReverseOperationName = keyof typeof reverseOperations;
export type ReverseArguments<O extends ReverseOperationName> = z.infer<
  (typeof reverseOperations)[O]['arguments']
>;
export type ReverseResult<O extends ReverseOperationName> = z.infer<
  (typeof reverseOperations)[O]['result']
>;
export type HostOperationName = keyof typeof hostOperations;
export type HostArguments<O extends HostOperationName> = z.infer<
  (typeof hostOperations)[O]['arguments']
>;
export type HostResult<O extends HostOperationName> = z.infer<(typeof hostOperations)[O]['result']>;
