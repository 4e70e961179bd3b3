/** Rows of a JSONL file, read as a stream of bytes: a byte order mark, CRLF, blank lines and a missing last newline are all fine. */
import { createReadStream } from 'node:fs';
import type { Json } from '../../../src/types.ts';
import { BadRow, described, type Row } from './prompt.ts';

export interface Line {
  /** From 1. */
  readonly number: number;
  readonly bytes: Buffer;
}

/** Lines that are not blank. Split at line feeds alone: text may hold other characters that count as line ends (U+2028). */
export async function* linesOf(file: string): AsyncGenerator<Line> {
  let number = 0;
  let rest: Buffer[] = [];
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const bytes = Buffer.concat([...rest, chunk.subarray(start, end)]);
      rest = [];
      start = end + 1;
      number++;
      if (!isBlank(bytes)) yield { number, bytes };
    }
    rest.push(chunk.subarray(start));
  }
  const bytes = Buffer.concat(rest);
  if (!isBlank(bytes)) yield { number: number + 1, bytes };
}

const isBlank = (bytes: Buffer) => bytes.every((byte) => byte === 32 || byte === 9 || byte === 13);

/** The object that a line holds. @throws BadRow that says why it holds none */
export function rowOfLine(bytes: Buffer): Row {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new BadRow('not UTF-8');
  }
  let row: Json;
  try {
    row = JSON.parse(text) as Json;
  } catch (error) {
    throw new BadRow(`not JSON (${(error as Error).message})`);
  }
  if (row === null || typeof row !== 'object' || Array.isArray(row))
    throw new BadRow(`${described(row)}, not an object of columns`);
  for (const [column, value] of Object.entries(row)) {
    const why = unusable(value);
    if (why) throw new BadRow(`column "${column}" holds ${why}`);
  }
  return row;
}

/** What JSON can write and neither JavaScript nor Python can keep. */
function unusable(value: Json): string | null {
  if (typeof value === 'number')
    return Number.isFinite(value) ? null : 'a number beyond the range of doubles';
  if (typeof value === 'string') return /\p{Surrogate}/u.test(value) ? 'half of a surrogate pair' : null;
  if (value === null || typeof value !== 'object') return null;
  for (const item of Object.values(value)) {
    const why = unusable(item);
    if (why) return why;
  }
  return null;
}
