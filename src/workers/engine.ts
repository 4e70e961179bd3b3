/**
 * What samples from a model, as configs name it: `transformers`, `vllm`, or a class of the user's
 * in the worker, each alone or with options.
 */
import { z } from 'zod';

/** What GenAC gives vLLM itself, by why no option says it. */
const genacs: Readonly<Record<string, readonly string[]>> = {
  'it is an option of the model, next to `engine`': [
    ...['model', 'revision', 'code_revision', 'trust_remote_code', 'hf_config_path'],
  ],
  'vLLM gets and gives token ids': [
    ...['tokenizer', 'tokenizer_mode', 'tokenizer_revision', 'skip_tokenizer_init'],
  ],
  'the weights come from the model that is trained; `transfer` says how': [
    ...['load_format', 'weight_transfer_config', 'model_weights'],
  ],
  'each sequence has a seed of its own, and the options of `sampling`': [
    ...['seed', 'generation_config', 'override_generation_config'],
  ],
  'training needs log-probabilities as they are': ['logprobs_mode', 'max_logprobs'],
  'adapters are merged into the weights that vLLM gets': [
    ...['enable_lora', 'lora_modules', 'max_loras', 'max_lora_rank', 'fully_sharded_loras'],
  ],
  'it has no effect, for vLLM is never sent to sleep': ['enable_sleep_mode'],
  'vLLM takes no more than one in a process; use tensor_parallel_size': ['data_parallel_size'],
};
const reasons = new Map(
  Object.entries(genacs).flatMap(([why, names]) => names.map((name) => [name, why] as const)),
);

/** Options of the engine `vllm` that are GenAC's own. */
const vllmOwn = z.object({
  /** The worker starts a vLLM server, and ends it; false: vLLM is in the worker's process. */
  server: z.boolean().default(false),
  /** The Python that has vLLM, for that server; null: the worker's own. */
  python: z.string().min(1).nullable().default(null),
  /** Seconds until that server must be up; it may compile for minutes. */
  start_timeout: z.number().positive().default(900),
  /** Address of a vLLM server that somebody else started. */
  url: z.url({ protocol: /^https?$/ }).optional(),
  /** How weights reach vLLM; default: `memory`, or `files` where it has processes of its own. */
  transfer: z.enum(['memory', 'files', 'ipc', 'nccl']).nullable().default(null),
  /** Where `files` are written, for both sides to see; null: /dev/shm or the temporary folder. */
  folder: z.string().min(1).nullable().default(null),
  /**
   * Largest mean difference of log-probabilities between vLLM and the trained model after an
   * update, in nats per token; null: what rounding explains, .001 in float32 and .2 in bfloat16.
   */
  max_logprob_gap: z.number().positive().nullable().default(null),
});

/** The same, and those of vLLM's that GenAC reads. */
const vllmOptions = vllmOwn.extend({
  gpu_memory_utilization: z.number().positive().max(1).optional(),
  kv_cache_memory_bytes: z.int().positive().optional(),
  tensor_parallel_size: z.int().positive().optional(),
  pipeline_parallel_size: z.int().positive().optional(),
  dtype: z.enum(['auto', 'float32', 'bfloat16', 'float16']).optional(),
});

/** An engine by name, or with options: `{use: vllm, enforce_eager: true}`. */
export const engineSchema = z
  .union([z.string().min(1), z.object({ use: z.string().min(1) }).catchall(z.json())])
  .superRefine((engine, { addIssue }) => {
    if (typeof engine === 'string') return;
    const { use, ...options } = engine;
    const refuse = (name: string, message: string) =>
      addIssue({ code: 'custom', path: [name], message });
    for (const name of Object.keys(options)) {
      if (use === 'transformers') refuse(name, 'the engine "transformers" has no options');
      const why = reasons.get(name);
      if (use === 'vllm' && why !== undefined)
        refuse(name, `is no option of the engine "vllm": ${why}`);
    }
    if (use !== 'vllm') return;
    const { error } = vllmOptions.safeParse(options);
    for (const { path, message } of error?.issues ?? []) refuse(path.join('.'), message);
    if (options.server === true && options.url !== undefined)
      refuse('server', 'starts a server, and `url` names one that is there; give one of them');
    if (options.transfer === 'nccl' && options.server !== true && options.url === undefined)
      refuse('transfer', 'is for a server on other GPUs; give `server: true`, or `url`');
    if (options.server !== true)
      for (const name of ['python', 'start_timeout'].filter((one) => one in options))
        refuse(name, 'is for a server that the worker starts; give `server: true`');
    // A server computes in its own type, which the gap that rounding explains depends on.
    const isKnown = (name: string) => name in vllmOwn.shape || name === 'dtype';
    if (options.url !== undefined)
      for (const name of Object.keys(options).filter((one) => !isKnown(one)))
        refuse(name, 'is for the server at `url`, which was started with its own');
  });

export type EngineChoice = z.infer<typeof engineSchema>;

/** Name and options as `load_model` has them. */
export function engineOf(choice: EngineChoice) {
  if (typeof choice === 'string') return { engine: choice, engine_options: {} };
  const { use, ...options } = choice;
  return { engine: use, engine_options: options };
}

interface Draws {
  readonly temperature: number;
  readonly top_p: number | null;
  readonly top_k: number | null;
}

/**
 * Errors for draws that the actor's engine can't make, or whose log-probabilities mean something
 * else with it: vLLM's are of what top-k and top-p leave.
 */
export function drawsUnlike(
  actor: { readonly engine: EngineChoice; readonly old_logprobs: 'sampler' | 'recomputed' } | null,
  sampling: Draws,
): string[] {
  if (!actor || engineOf(actor.engine).engine !== 'vllm') return [];
  const { temperature } = sampling;
  const outside = temperature < 0.01 || temperature > 2;
  const unable = outside
    ? [`sampling.temperature: ${temperature}; the engine "vllm" takes .01 to 2`]
    : [];
  return actor.old_logprobs === 'recomputed' ? unable : [...unable, ...otherLogprobs(sampling)];
}

function otherLogprobs(sampling: Draws): string[] {
  return (['top_p', 'top_k'] as const)
    .filter((name) => sampling[name] !== null && !(name === 'top_p' && sampling.top_p === 1))
    .map(
      (name) =>
        `sampling.${name}: with the engine "vllm", log-probabilities are of the tokens that it leaves; ` +
        'use actor.old_logprobs: recomputed (with a max_sampling_kl that allows for the difference), or null',
    );
}
