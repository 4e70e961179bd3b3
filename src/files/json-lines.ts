/** Reads JSONL files line by line: memory holds one line, whatever the size of the file. */

import { UserError } from '../user-error.ts';
import { chunksOf, textOf } from './text-file.ts';

const MIB = 2 ** 20;
/**
 * Longer lines are refused: a string holds less than twice as much, and the JSON would fill the
 * memory.
 */
export const LONGEST_LINE = 256 * MIB;

export interface JsonLine {
  /** From 1. */
  readonly number: number;
  readonly value: unknown;
}

export interface JsonLineOptions {
  /**
   * `ignore`: skips a last line without a line feed, which may still be in writing or was cut off
   * when its writer died.
   */
  readonly last: 'ignore' | 'read';
  /** Bytes of a line. */
  readonly longest?: number;
}

/**
 * Yields the values of the lines that are not blank. @throws UserError that names the file and the
 * line
 */
export function* jsonLinesOf(path: string, options: JsonLineOptions): Generator<JsonLine> {
  const { last, longest = LONGEST_LINE } = options;
  for (const { number, bytes, ended } of splitLines(chunksOf(path), longest)) {
    if (!ended && last === 'ignore') return;
    if (bytes === null)
      throw new UserError(
        `${path}, line ${number} has more than ${longest / MIB} MiB: shorten or remove it`,
      );
    const text = textOf(bytes);
    if (text === null)
      throw new UserError(`${path}, line ${number} is not UTF-8: mend or remove it`);
    if (text.trim() === '') continue;
    yield { number, value: parsed(text, `${path}, line ${number}`) };
  }
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${where} is not JSON (${(error as Error).message}): mend or remove it`);
  }
}

interface SplitLine {
  readonly number: number;
  /** Valid until the next step of the iteration. null: longer than `longest`; no line follows. */
  readonly bytes: Buffer | null;
  /** True if a line feed follows. */
  readonly ended: boolean;
}

/**
 * Cuts at line feeds only. A chunk may end anywhere, and its buffer may be reused for the next one.
 */
export function* splitLines(chunks: Iterable<Buffer>, longest: number): Generator<SplitLine> {
  let number = 1;
  let rest: Buffer[] = [];
  let length = 0;
  for (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const part = chunk.subarray(start, end);
      if (length + part.length > longest) break;
      yield {
        number,
        bytes: rest.length === 0 ? part : Buffer.concat([...rest, part]),
        ended: true,
      };
      [rest, length] = [[], 0];
      start = end + 1;
      number++;
    }
    const part = chunk.subarray(start);
    length += part.length;
    if (length > longest) {
      yield { number, bytes: null, ended: true };
      return;
    }
    if (part.length > 0) rest.push(Buffer.from(part));
  }
  if (length > 0) yield { number, bytes: Buffer.concat(rest), ended: false };
}
