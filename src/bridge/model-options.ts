/** Options of `load_model`, which configs have, too. */
import { z } from 'zod';

const path = z.string().min(1);

export const optimizerSchema = z.strictObject({
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]),
  eps: z.number().positive(),
  weight_decay: z.number().nonnegative(),
});

export const loraSchema = z.strictObject({
  rank: z.int().positive(),
  alpha: z.number().positive(),
  dropout: z.number().min(0).lt(1),
  /** null: PEFT's own choice for the architecture, and all linear layers where it has none. */
  target_modules: z.union([z.literal('all-linear'), z.array(z.string()).min(1)]).nullable(),
});

/**
 * How a model's files are read, by the names that Transformers has for it, what samples, and how
 * its device's memory is used.
 */
export const loadingSchema = z.strictObject({
  /** Branch, tag or commit of a Hub name; null: the newest. */
  revision: z.string().min(1).nullable(),
  /** Allows code in the model's folder or repository to run. */
  trust_remote_code: z.boolean(),
  /** `eager`, `sdpa`, `flash_attention_2`, ...; null: Transformers' choice. */
  attn_implementation: z.string().min(1).nullable(),
  /** As of Transformers' `BitsAndBytesConfig`: `{load_in_4bit: true}`. Trained with LoRA only. */
  quantization_config: z.record(z.string(), z.json()).nullable(),
  /**
   * Folder or Hub name of the tokenizer; null: the model's, or its base's for an adapter without.
   */
  tokenizer: path.nullable(),
  /** Given to the chat template with every chat: `{enable_thinking: false}`. */
  chat_template_kwargs: z.record(z.string(), z.json()),
  /**
   * What samples: `transformers`, the worker's own loop over the loaded network, `vllm`, or a class
   * of the user's, `package.module:Class` (`genac_bridge/engines/engine.py`). A value model has
   * none.
   */
  engine: z.string().min(1),
  /** Options of the engine, by its own names. */
  engine_options: z.record(z.string(), z.json()),
  /**
   * Training keeps each layer's input only and computes the rest again for the gradient. false: it
   * does so where a micro-batch would not fit otherwise.
   */
  gradient_checkpointing: z.boolean(),
  /**
   * Training reads what sequences of a request begin with alike once. Where the network can't, it
   * does not, and the worker's log says why.
   */
  share_prefixes: z.boolean(),
  /** The optimizer's moments stay in the host's memory between steps. */
  offload_optimizer: z.boolean(),
  /**
   * The part of a GPU's memory that the worker's micro-batches are planned with; null: what the
   * controller gave it (`GENAC_MEMORY_SHARE`), else 0.5. On other devices it has no effect.
   */
  memory_share: z.number().positive().max(1).nullable(),
});

export type OptimizerOptions = z.infer<typeof optimizerSchema>;
export type LoraOptions = z.infer<typeof loraSchema>;
export type LoadingOptions = z.infer<typeof loadingSchema>;
