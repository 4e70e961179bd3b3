/**
 * Paid answers in an append-only file, one a line, so that no question is paid for twice, also
 * after Ctrl-C or SIGKILL. A torn line (the process died while writing) is ignored.
 */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
} from 'node:fs';
import { dirname, relative } from 'node:path';
import { z } from 'zod';
import { type ApiModel, endpointOf } from '../config/api.ts';
import { LONGEST_LINE, splitLines } from '../files/json-lines.ts';
import { chunksOf, textOf } from '../files/text-file.ts';
import { UserError } from '../user-error.ts';

const usageSchema = z.strictObject({ input: z.number(), output: z.number() });

/** Token counts of the server. */
export type Usage = z.infer<typeof usageSchema>;

const lineSchema = z.strictObject({
  key: z.string(),
  /** Folder of the run that paid for it. */
  run: z.string(),
  model: z.string(),
  /** null: the try failed, but may have cost something; the line only counts its cost. */
  answer: z.strictObject({ text: z.string(), finish: z.string().nullable() }).nullable(),
  /** null: the server did not say. */
  usage: usageSchema.nullable(),
  /** Largest possible cost in dollars, if the cost is not known. */
  at_most: z.number().nullable(),
});

export type CacheLine = z.infer<typeof lineSchema>;

export interface Question {
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  /** Number among equal questions: each has its own answer. */
  readonly sample: number;
}

/** Digest that is equal for equal questions to the same model with the same sampling options. */
export function keyOf({ messages, sample }: Question, api: ApiModel): string {
  const { model, max_tokens, max_tokens_name, temperature, top_p, extra } = api;
  const asked = [
    endpointOf(api),
    model,
    messages,
    max_tokens_name,
    max_tokens,
    temperature,
    top_p,
    extra,
    sample,
  ];
  return createHash('sha256').update(JSON.stringify(asked)).digest('hex');
}

export class AnswerCache {
  readonly path: string;
  readonly #answers = new Map<string, CacheLine>();
  readonly #ofRun: CacheLine[] = [];
  /** Number of lines that can't be read. */
  readonly torn: number;

  /**
   * @param run folder of this run; only what it paid for counts against its limit
   */
  constructor(path: string, run: string) {
    this.path = path;
    mkdirSync(dirname(path), { recursive: true });
    let torn = 0;
    const own = !relative(run, path).startsWith('..');
    for (const { number, bytes } of existsSync(path)
      ? splitLines(chunksOf(path), LONGEST_LINE)
      : []) {
      // Not ignored, because the lines after it are paid for too.
      if (bytes === null)
        throw new UserError(`${path}, line ${number} is too long to be an answer: remove it`);
      const text = textOf(bytes);
      if (text?.trim() === '') continue;
      const line = text === null ? null : lineOf(text);
      if (line === null) torn++;
      else {
        if (line.answer && !this.#answers.has(line.key)) this.#answers.set(line.key, line);
        // A run that was moved has another path, and its own file with it.
        if (own || line.run === run) this.#ofRun.push(line);
      }
    }
    this.torn = torn;
  }

  /** Lines that this run paid for before. */
  get paid(): readonly CacheLine[] {
    return this.#ofRun;
  }

  get(key: string): CacheLine | null {
    return this.#answers.get(key) ?? null;
  }

  add(line: CacheLine): void {
    const gap = endsTorn(this.path) ? '\n' : '';
    appendFileSync(this.path, `${gap}${JSON.stringify(line)}\n`);
    if (line.answer) this.#answers.set(line.key, line);
  }
}

function lineOf(text: string): CacheLine | null {
  try {
    return lineSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Returns whether the file ends in the middle of a line. */
function endsTorn(path: string): boolean {
  const size = existsSync(path) ? statSync(path).size : 0;
  if (size === 0) return false;
  const file = openSync(path, 'r');
  try {
    const last = Buffer.alloc(1);
    readSync(file, last, 0, 1, size - 1);
    return last[0] !== 10;
  } finally {
    closeSync(file);
  }
}
