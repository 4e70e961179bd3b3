/**
 * Writes an embedded task's model folder in Hugging Face format: a small Llama's config and a
 * word-level tokenizer. Weights come from `load_model`.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LABELS, type Machine } from './machine.ts';

export interface ModelSize {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** One key-value head generates faster and learns as well at this size. */
  readonly keyValueHeads: number;
  readonly mlp: number;
}

export const DIGITS: readonly string[] = Array.from({ length: 11 }, (_, i) => String(i));
const marks = ['|', '>', '.', '?', '#', 'Y', 'N', 'left', 'size', 'rate'];

/**
 * Every word that a prompt, a response or the critic has, each one token; `<pad>` is the first.
 *
 * @param steps labelled steps of the longest chain: the critic also writes how many are left
 */
export function vocabulary(machine: Machine, steps: number): string[] {
  const own = [...machine.operations, ...machine.states];
  const counts = Array.from({ length: steps + 1 }, (_, left) => String(left));
  const asked = machine.words ?? [];
  const words = [...marks, ...DIGITS, ...LABELS.slice(0, steps), ...own, ...counts, ...asked];
  return [...new Set(['<pad>', ...words])];
}

/**
 * `.` ends a sequence, and stays in the text (it is not declared special): it closes the critic's
 * score.
 *
 * @param spellings as `Machine` has them
 */
export async function writeModelFolder(
  folder: string,
  size: ModelSize,
  words: readonly string[],
  spellings: Machine['spellings'] = [],
): Promise<void> {
  const id = (word: string) => words.indexOf(word);
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: words.length,
    hidden_size: size.width,
    intermediate_size: size.mlp,
    num_hidden_layers: size.layers,
    num_attention_heads: size.heads,
    num_key_value_heads: size.keyValueHeads,
    head_dim: size.width / size.heads,
    max_position_embeddings: 256,
    tie_word_embeddings: true,
    pad_token_id: id('<pad>'),
    eos_token_id: id('.'),
    bos_token_id: null,
    torch_dtype: 'float32',
  };
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: 0,
        content: '<pad>',
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer:
      spellings.length === 0
        ? null
        : {
            type: 'Sequence',
            normalizers: spellings.map(([found, content]) => ({
              ...{ type: 'Replace', pattern: { String: found }, content },
            })),
          },
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: null,
    model: {
      type: 'WordLevel',
      vocab: Object.fromEntries(words.map((word, i) => [word, i])),
      unk_token: '<pad>',
    },
  };
  const tokenizerConfig = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    pad_token: '<pad>',
    clean_up_tokenization_spaces: false,
    model_max_length: 256,
  };
  await mkdir(folder, { recursive: true });
  const write = (name: string, content: unknown) =>
    writeFile(join(folder, name), `${JSON.stringify(content, null, 2)}\n`);
  await write('config.json', config);
  await write('tokenizer.json', tokenizer);
  await write('tokenizer_config.json', tokenizerConfig);
}
