/**
 * The operations a worker offers: arguments and results, as zod schemas.
 *
 * Everything here travels in the msgpack header. Numbers in bulk travel beside it as tensors, whose
 * names, dtypes and shapes are written in each operation's doc comment. Ragged data is flat values
 * plus `cu_seqlens` (int32, length = sequences + 1, starts with 0). Keys are snake_case on both
 * sides and never missing: `null` says "none".
 *
 * Terms: P = prompts, N = sequences, T = tokens of all sequences together.
 */
import { z } from 'zod';
import { loadingSchema, loraSchema, optimizerSchema } from './model-options.ts';

const count = z.int().nonnegative();
const modelName = z.string().min(1).max(128);
const path = z.string().min(1);

/**
 * A prompt is plain text, or chat messages that the tokenizer's chat template renders (with the
 * generation prompt). Without a template they are the plain text `role: content`, a blank line
 * between two messages, and `assistant:` at the end. After a last message of the assistant, the
 * model goes on in that.
 */
export const promptSchema = z.union([
  z.string(),
  z.array(z.strictObject({ role: z.string(), content: z.string() })).min(1),
]);

/**
 * Loads a model under a name. A name that is taken is replaced (weights, optimizer and counters
 * start afresh). No tensors.
 */
const loadModel = {
  arguments: z.strictObject({
    model: modelName,
    /** A folder in Hugging Face format, or a Hub name. */
    source: path,
    kind: z.enum(['causal', 'value']),
    /**
     * A value model's numbers are the head's logistic sigmoid, in (0, 1), where the head's zeros
     * give 0.5. Of a causal model: false.
     */
    bounded: z.boolean(),
    /**
     * A value model's head gives the probabilities of so many values from 0 to 1, whose mean is the
     * value (HL-Gauss, arXiv 2403.03950); null: one number.
     */
    bins: z.int().min(2).max(1001).nullable(),
    /**
     * `random`: weights drawn at std 1/sqrt(fan_in) from `seed`, from the folder's config.json
     * alone.
     */
    initialization: z.enum(['pretrained', 'random']),
    seed: count,
    /** `auto`: cuda, then mps, then cpu. */
    device: z.string().min(1),
    /**
     * Compute type. Weights that are trained are float32 always. `auto`: bfloat16 where the device
     * has it natively (CUDA), else float32.
     */
    dtype: z.enum(['auto', 'float32', 'bfloat16']),
    loading: loadingSchema,
    lora: loraSchema.nullable(),
    /** null: frozen, no optimizer is made; `accumulate` and `step` are refused. */
    optimizer: optimizerSchema.nullable(),
  }),
  result: z.strictObject({
    parameters: count,
    trainable_parameters: count,
    device: z.string(),
    dtype: z.enum(['float32', 'bfloat16']),
    vocabulary_size: count,
    eos_token_id: count.nullable(),
    context_length: count.nullable(),
    has_chat_template: z.boolean(),
    /**
     * The fastest way in which sampling gives `score`'s log-probs, tried out at load;
     * docs/models.md says what each means. null: a value model, which is not sampled.
     */
    sampling: z
      .enum(['together', 'masked', 'equal-lengths', 'whole-groups', 'one-by-one', 'reread'])
      .nullable(),
    /**
     * Do the tokens that its engine samples depend on prompt, seed and weights alone? null: a value
     * model.
     */
    reproducible: z.boolean().nullable(),
    /**
     * Why a GPU does not serve it from a copy of its weights, so that it is sampled more slowly.
     * null: it does, or another engine samples, or it is no GPU.
     */
    slow_because: z.string().nullable(),
    step: count,
    version: count,
  }),
};

/**
 * true: the contents of prompts (and completions) are other people's text. It makes no control
 * token, whatever it contains: only the chat template, `append_eos` and what the tokenizer puts
 * around plain text write control tokens. Where the contents hold none, the ids are the same with
 * false.
 */
const literal = z.boolean();

/**
 * Text to token ids, for text that no model wrote (demonstrations, oracle traces). What a model
 * wrote is never tokenized again.
 * Out: `ids` int32 [T], `cu_seqlens` int32 [N+1], `prompt_lengths` int32 [N] (tokens of each
 *      sequence that belong to its prompt).
 */
const tokenize = {
  arguments: z.strictObject({
    model: modelName,
    prompts: z.array(promptSchema),
    /** One for each prompt, tokenized apart from it and appended; null: prompts alone. */
    completions: z.array(z.string()).nullable(),
    append_eos: z.boolean(),
    literal,
  }),
  result: z.strictObject({ tokens: count }),
};

/**
 * Samples `completions_per_prompt` completions of every prompt; sequence i belongs to prompt
 * floor(i / completions_per_prompt).
 * In:  `seeds` uint32 [N, 2], one 64-bit seed for each sequence (low word first). With a
 *      reproducible engine a sequence's tokens depend on its prompt, its seed and the weights only,
 *      never on what else was in the batch. If `prompts` is null: `prompt_ids` int32 [T] and
 *      `prompt_cu_seqlens` int32 [P+1], and, if responses are continued, `prefix_lengths` int32
 *      [P]: how many ids at the end of each prompt are the beginning of its completions. `texts`
 *      and
 *      `text_ends` then speak of the whole completion, the ids and log-probs of its new tokens;
 *      `max_new_tokens` counts the prefix too.
 * Out: `prompt_ids` int32, `prompt_cu_seqlens` int32 [P+1], `completion_ids` int32 [T],
 *      `completion_cu_seqlens` int32 [N+1] (the end-of-sequence token is part of a completion),
 *      `logprobs` float32 [T] (of the distribution at `temperature`, before top-k and top-p; at
 *      temperature 0 of the distribution at 1), `text_ends` int32 [T] (UTF-16 units of the
 *      completion's text that are complete after each token; special tokens add none). With
 *      `stream`, each finished sequence is sent at once in a `partial`, with `data = {indices,
 *      texts, finish_reasons}` (indices: sequence numbers) and the tensors `completion_ids`,
 *      `completion_cu_seqlens`, `logprobs`, `text_ends` of those sequences; the final result holds
 *      all of them once more.
 */
const sample = {
  arguments: z.strictObject({
    model: modelName,
    prompts: z.array(promptSchema).nullable(),
    literal,
    completions_per_prompt: z.int().positive(),
    max_new_tokens: z.int().positive(),
    /** 0 = greedy. */
    temperature: z.number().nonnegative(),
    top_p: z.number().positive().max(1).nullable(),
    top_k: z.int().positive().nullable(),
    /**
     * A completion ends with the first of these in its text; the stop string is kept in the text.
     */
    stop_strings: z.array(z.string().min(1)),
    /** In addition to the model's own end-of-sequence tokens. */
    stop_token_ids: z.array(count),
    /** Sequences decoded at once; null: the worker's choice. */
    batch_size: z.int().positive().nullable(),
    stream: z.boolean(),
  }),
  result: z.strictObject({
    texts: z.array(z.string()),
    finish_reasons: z.array(z.enum(['stop_token', 'stop_string', 'length'])),
    /** Version of the weights that served all of these tokens: the one published last. */
    version: count,
    /** Tokens whose forward pass was computed for padding, beside all (a measure of waste). */
    padding_tokens: count,
    /** Prompt tokens that were not computed, because the engine had their keys and values. */
    cached_tokens: count,
  }),
};

/**
 * Log-probability (and value) of given tokens under the current weights.
 * In:  `ids` int32 [T], `cu_seqlens` int32 [N+1].
 * Out: causal: `logprobs` float32 [T], entry i = log p(ids[i] | before), 0 for each sequence's
 *      first token; with `entropy`: `entropies` float32 [T], nats.
 *      value: `values` float32 [T], entry i = value of the state *before* token i (read at token
 *      i-1), 0 for each sequence's first token.
 */
const score = {
  arguments: z.strictObject({
    model: modelName,
    temperature: z.number().positive(),
    entropy: z.boolean(),
    /** Padded tokens of one forward pass; null: the worker's choice. */
    micro_batch_tokens: z.int().positive().nullable(),
  }),
  result: z.strictObject({ tokens: count, version: count }),
};

/**
 * Log-probability, under the current weights, that each sequence goes on with each of a few short
 * answers. An answer that begins another one ("1" and "10") has the probability that the other's
 * next token does not follow.
 * In:  `ids` int32 [T], `cu_seqlens` int32 [N+1], each sequence of at least one token.
 * Out: `logprobs` float32 [N, C], in the order of `choices`.
 */
const choices = {
  arguments: z.strictObject({
    model: modelName,
    /** Token ids of each answer; no two are the same. */
    choices: z.array(z.array(z.int().nonnegative())).min(1).max(1000),
    temperature: z.number().positive(),
    /** Padded tokens of one forward pass; null: the worker's choice. */
    micro_batch_tokens: z.int().positive().nullable(),
  }),
  /** `tokens`: how many were read. */
  result: z.strictObject({ tokens: count, version: count }),
};

/**
 * The additive loss terms of `accumulate`. Each is a sum over tokens, scaled by `coefficient`, of
 * what stands in its doc comment. Its tensors are float32 [T], aligned with `ids`: entry i belongs
 * to the prediction of ids[i]. Entries where `mask` is 0 count for nothing.
 */
export const streamSchema = z.discriminatedUnion('kind', [
  /**
   * PPO's clipped surrogate (Schulman 2017, eq. 7), with rho = exp(logp - old logp):
   * -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A).
   * Tensors `pg.advantages`, `pg.old_logprobs`.
   */
  z.strictObject({
    kind: z.literal('pg'),
    coefficient: z.number(),
    clip_low: z.number().nonnegative().max(1),
    clip_high: z.number().nonnegative(),
  }),
  /**
   * Weighted cross-entropy: -w logp. Tensor `ce.weights`. With weights of any sign this is
   * REINFORCE.
   */
  z.strictObject({ kind: z.literal('ce'), coefficient: z.number() }),
  /**
   * KL to a reference, Schulman's k3 estimator: exp(d) - d - 1, d = reference logp - logp. Tensor
   * `kl.reference_logprobs`.
   */
  z.strictObject({ kind: z.literal('kl'), coefficient: z.number() }),
  /** Entropy of the predicted distribution in nats, *subtracted* from the loss (a bonus). */
  z.strictObject({ kind: z.literal('entropy'), coefficient: z.number() }),
  /**
   * Value head: 0.5 max((V - R)^2, (old + clip(V - old, -clip, clip) - R)^2); clip null: 0.5 (V -
   * R)^2. Tensors `value.returns`, `value.old_values`.
   */
  z.strictObject({
    kind: z.literal('value'),
    coefficient: z.number(),
    clip: z.number().positive().nullable(),
  }),
]);

/**
 * Adds the gradient of (sum of all streams) / normalizer to the model's gradient. All or nothing:
 * an error or a cancel discards every gradient since the last step, and says so.
 * In: `ids` int32 [T], `cu_seqlens` int32 [N+1], `mask` float32 [T] (0 or 1; the first token of a
 *     sequence must be 0), and the streams' tensors.
 */
const accumulate = {
  arguments: z.strictObject({
    model: modelName,
    streams: z.array(streamSchema).min(1),
    /** The loss is the streams' sum divided by this. */
    normalizer: z.number().positive(),
    /** Log-probs are of the distribution at this temperature, as in `sample`. */
    temperature: z.number().positive(),
    micro_batch_tokens: z.int().positive().nullable(),
  }),
  result: z.strictObject({
    /** Number of accumulations in the gradient. */
    accumulations: count,
    /**
     * Sums over masked tokens (undivided, without coefficients), among them: `tokens`, `sequences`,
     * and of the streams given `pg_loss`, `ratio`, `clipped_low`, `clipped_high`, `approximate_kl`,
     * `ce_loss`, `ce_weight`, `kl`, `entropy`, `value_loss`, `value_clipped`, and `loss` (all
     * streams with coefficients, divided by the normalizer).
     */
    statistics: z.record(z.string(), z.number()),
  }),
};

/**
 * One optimizer step (AdamW) with the accumulated gradient; clears it. A fence: refused unless the
 * model stands at `expected_step` with exactly
 * `expected_accumulations` in its gradient. A gradient that is not finite is an error; the weights
 * stay. No tensors.
 */
const step = {
  arguments: z.strictObject({
    model: modelName,
    expected_step: count,
    expected_accumulations: z.int().positive(),
    learning_rate: z.number().nonnegative(),
    max_grad_norm: z.number().positive().nullable(),
  }),
  result: z.strictObject({
    /** Steps taken, this one included. */
    step: count,
    /** L2 norm before clipping. */
    grad_norm: z.number(),
    /** L2 norm of the change of the weights. */
    update_norm: z.number(),
  }),
};

/**
 * Makes the current weights the ones that `sample` serves, until the next `publish` or
 * `restore_model`: the model's engine takes a snapshot of them. `version` = number of steps in the
 * served weights. `load_model` publishes, too. No tensors.
 */
const publish = {
  arguments: z.strictObject({ model: modelName }),
  result: z.strictObject({
    version: count,
    /** First 16 hex digits of a digest of the served weights. */
    digest: z.string(),
  }),
};

/**
 * Writes weights, config and tokenizer in Hugging Face format, and with `optimizer` the optimizer's
 * state and step (`genac_state.safetensors`).
 */
const saveModel = {
  arguments: z.strictObject({ model: modelName, path, optimizer: z.boolean() }),
  result: z.strictObject({ bytes: count, step: count }),
};

/**
 * Weights, optimizer state and step of a folder written by `save_model` with `optimizer`, into the
 * model loaded under this name; gradients are cleared.
 */
const restoreModel = {
  arguments: z.strictObject({ model: modelName, path }),
  result: z.strictObject({ step: count, version: count }),
};

/**
 * Calls a Python function, named `package.module:function`, with keyword arguments of plain JSON;
 * its answer must be plain JSON too.
 */
const call = {
  arguments: z.strictObject({
    function: z.string().min(3),
    keywords: z.record(z.string(), z.json()),
  }),
  result: z.strictObject({ value: z.json() }),
};

export const operations = {
  load_model: loadModel,
  tokenize,
  sample,
  score,
  choices,
  accumulate,
  step,
  publish,
  save_model: saveModel,
  restore_model: restoreModel,
  call,
};

export type OperationName = keyof typeof operations;
export type Arguments<O extends OperationName> = z.infer<(typeof operations)[O]['arguments']>;
export type Result<O extends OperationName> = z.infer<(typeof operations)[O]['result']>;
export type LossStream = z.infer<typeof streamSchema>;
export type Prompt = z.infer<typeof promptSchema>;
