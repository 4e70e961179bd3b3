/** Options of an oracle behind an API: `critic_sft.traces: {api: {...}}`. */
import { z } from 'zod';

const positive = z.int().positive();
const dollars = z.number().nonnegative();

const fields = z.strictObject({
  /** The server's name for the model. */
  model: z.string().min(1),
  /** The URL before `/chat/completions`. */
  base_url: z
    .url({ protocol: /^https?$/, error: 'expected a URL such as https://api.openai.com/v1' })
    .refine((url) => !/[?#]/.test(url), {
      message:
        'ends with its path, for /chat/completions is put after it: leave out what follows ' +
        '? or #. A key goes into an environment variable, which api_key_env names',
    })
    .default('https://api.openai.com/v1'),
  /** Name of the environment variable that holds the key; null: the server needs none. */
  api_key_env: z
    .string()
    .regex(
      /^[A-Za-z_]\w*$/,
      'the name of an environment variable that holds the key, never the key itself; null: ' +
        'none is needed',
    )
    .nullable()
    .default('OPENAI_API_KEY'),
  /** Number of states to ask about, once each. */
  count: positive.default(1000),
  /** Largest number of tokens of an answer. */
  max_tokens: positive.default(1024),
  /** The server's name for `max_tokens`. */
  max_tokens_name: z.enum(['max_tokens', 'max_completion_tokens']).default('max_tokens'),
  /** null: not sent, so the server's default applies. */
  temperature: z.number().nonnegative().nullable().default(1),
  top_p: z.number().gt(0).max(1).nullable().default(null),
  /** More fields of the request's body, such as `{reasoning_effort: low}`. */
  extra: z.record(z.string(), z.json()).default({}),
  /** Largest number of requests at once. */
  concurrency: positive.default(8),
  /** Tries for each question. */
  tries: positive.default(6),
  /**
   * Seconds before the second try; doubled for each further one up to 60, with jitter.
   * `Retry-After` takes precedence.
   */
  backoff: z.number().positive().default(1),
  /** Seconds until a try is given up. */
  timeout: z.number().positive().max(86_400).default(120),
  /** Dollars per million tokens; null: costs are not counted. */
  price: z.strictObject({ input: dollars, output: dollars }).nullable().default(null),
  /** Dollars that this run may spend; null: no limit. */
  max_cost: z.number().positive().nullable().default(null),
  /** File of answers to share between runs; null: `oracle/answers.jsonl` in the run's folder. */
  cache: z.string().min(1).nullable().default(null),
});

export const apiSchema = fields.superRefine(apiRules);

/** Options that contradict each other, or that a request could not carry. */
export function apiRules(
  { max_cost, price, extra }: Pick<z.infer<typeof fields>, 'max_cost' | 'price' | 'extra'>,
  context: z.RefinementCtx,
): void {
  const refuse = (path: string[], message: string) =>
    context.addIssue({ code: 'custom', path, message });
  if (max_cost !== null && price === null)
    refuse(['max_cost'], 'needs `price: {input, output}`, dollars per million tokens');
  for (const name of Object.keys(extra))
    if (reserved.has(name))
      refuse(['extra', name], 'has an option of its own, or can not be chosen');
}

const reserved = new Set([
  'model',
  'messages',
  'n',
  'stream',
  'max_tokens',
  'max_completion_tokens',
  'temperature',
  'top_p',
]);

/** The fields of a critic behind an API: all but the number of states. */
export const { count: _count, ...apiFields } = fields.shape;

export type ApiOptions = z.infer<typeof apiSchema>;
export type ApiModel = Omit<ApiOptions, 'count'>;

/** The URL of requests, for errors. */
export const endpointOf = ({ base_url }: Pick<ApiOptions, 'base_url'>) =>
  `${base_url.replace(/\/+$/, '')}/chat/completions`;

/** Describes what is wrong with the key. @param where path of the options in the config */
export function keyFaults(
  { api_key_env: name }: Pick<ApiOptions, 'api_key_env'>,
  where: string,
): string[] {
  if (name === null || process.env[name]?.trim()) return [];
  return [
    `${where}.api_key_env: the environment variable ${name} is not set; put the key there ` +
      `(export ${name}=...), or set api_key_env: null for a server that asks for none`,
  ];
}
