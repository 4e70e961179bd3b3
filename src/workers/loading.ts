/**
 * How a model's files are read, what samples from it and how it uses memory: options of the actor
 * and of critics that are models, by the names that Transformers has for them.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';
import { type LoadingOptions, loadingSchema } from '../bridge/model-options.ts';
import type { Result } from '../bridge/operations.ts';
import { engineOf, engineSchema } from './engine.ts';

const { shape } = loadingSchema;

const slow: Partial<Record<NonNullable<Result<'load_model'>['sampling']>, string>> = {
  'equal-lengths': 'only prompts of equal length share a batch',
  'whole-groups':
    'only prompts of equal length share a batch, until the last response of it has ended',
  'one-by-one': 'responses are sampled one after the other',
  reread: 'each token reads its whole sequence again',
};

/** What is said of a model when it is loaded or first used, once for each. */
export class LoadingNotes {
  readonly #log: (text: string) => void;
  readonly #said = new Set<string>();

  constructor(log: (text: string) => void) {
    this.#log = log;
  }

  /** To be called when a chat is first given to a model without a chat template. */
  plainChat(as: string, source: string): () => void {
    return () =>
      this.#say(
        `chat ${as}`,
        `${as}: ${source} has no chat template; it is given chats as plain text, "role: ` +
          'content", and "assistant:" at the end',
      );
  }

  /** Where it can't be sampled as fast as most, or not to the same responses again. */
  sampling(
    as: string,
    source: string,
    {
      sampling,
      reproducible,
      slow_because,
    }: Pick<Result<'load_model'>, 'sampling' | 'reproducible' | 'slow_because'>,
  ): void {
    const why = sampling && slow[sampling];
    if (why) this.#say(`slow ${as}`, `${as}: of ${source}, to be exact, ${why} (docs/models.md)`);
    if (slow_because !== null) {
      this.#say(
        `copy ${as}`,
        `${as}: ${source} is not sampled from a copy of its weights, which is several times as ` +
          `fast on a GPU: ${slow_because}`,
      );
    }
    if (reproducible === false) {
      this.#say(
        `other ${as}`,
        `${as}: its engine samples other responses each time, so the run can't be repeated exactly`,
      );
    }
  }

  #say(what: string, text: string): void {
    if (this.#said.has(what)) return;
    this.#said.add(what);
    this.#log(text);
  }
}

/** For the schema of options; each has a default that changes nothing. */
export const loadingFields = {
  /** Branch, tag or commit of a Hub name; null: the newest. */
  revision: shape.revision.default(null),
  /** Runs code of the model's folder or repository, with your rights. */
  trust_remote_code: shape.trust_remote_code.default(false),
  /** `eager`, `sdpa`, `flash_attention_2`, ...; null: Transformers' choice. */
  attn_implementation: shape.attn_implementation.default(null),
  /** Fields of Transformers' BitsAndBytesConfig, such as `{load_in_4bit: true}`; needs `lora`. */
  quantization_config: shape.quantization_config.default(null),
  /** Folder or Hub name of the tokenizer; null: the model's own. */
  tokenizer: shape.tokenizer.default(null),
  /** Given to the chat template with every chat: `{enable_thinking: false}`. */
  chat_template_kwargs: shape.chat_template_kwargs.default({}),
  /**
   * What samples: `transformers`, `vllm`, or a class of yours in the worker,
   * `package.module:Class`; with options as `{use: vllm, enforce_eager: true}`.
   */
  engine: engineSchema.default('transformers'),
  /** Keeps each layer's input only, and computes the rest again for the gradient. */
  gradient_checkpointing: shape.gradient_checkpointing.default(false),
  /** Training reads what sequences begin with alike once. */
  share_prefixes: shape.share_prefixes.default(false),
  /** The optimizer's moments stay in the host's memory between steps. */
  offload_optimizer: shape.offload_optimizer.default(false),
  /** The part of a GPU's memory to plan with; null: workers that see the same one share equally. */
  memory_share: shape.memory_share.default(null),
};

type LoadingFields = z.infer<z.ZodObject<typeof loadingFields>>;

/**
 * Those of an object's options that say how a model is loaded. A tokenizer's folder becomes
 * absolute.
 */
export function loadingOf(options: LoadingFields): LoadingOptions {
  const { revision, trust_remote_code, attn_implementation, quantization_config } = options;
  const { tokenizer, chat_template_kwargs } = options;
  const { gradient_checkpointing, share_prefixes, offload_optimizer, memory_share } = options;
  const own = tokenizer !== null && existsSync(resolve(tokenizer)) ? resolve(tokenizer) : tokenizer;
  return {
    ...{ revision, trust_remote_code, attn_implementation, quantization_config },
    ...{ tokenizer: own, chat_template_kwargs, ...engineOf(options.engine) },
    ...{ gradient_checkpointing, share_prefixes, offload_optimizer, memory_share },
  };
}

/** A model as its folder says. */
export const plainLoading: LoadingOptions = loadingOf(z.object(loadingFields).parse({}));
