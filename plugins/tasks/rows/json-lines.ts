/**
 * Rows of a JSONL file, plain or gzipped, read as a stream of bytes: a byte order mark, CRLF, blank
 * lines and a missing last newline are all fine.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { DataError, type Json, LONGEST_LINE } from '../../../src/plugin-api.ts';
import { BadRow, described, type Row } from './prompt.ts';

export interface Line {
  /** From 1. */
  readonly number: number;
  readonly bytes: Buffer;
}

/**
 * Lines that are not blank. Split at line feeds alone: text may hold other characters that count as
 * line ends (U+2028).
 */
export async function* linesOf(file: string): AsyncGenerator<Line> {
  let number = 0;
  let rest: Buffer[] = [];
  let length = 0;
  let begun = false;
  for await (const chunk of bytesOf(file)) {
    if (!begun) begun = refuseArray(file, chunk);
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const bytes = Buffer.concat([...rest, chunk.subarray(start, end)]);
      [rest, length] = [[], 0];
      start = end + 1;
      number++;
      if (!isBlank(bytes)) yield { number, bytes };
    }
    rest.push(chunk.subarray(start));
    length += chunk.length - start;
    if (length > LONGEST_LINE)
      throw new DataError([
        `task: ${file}, line ${number + 1} has more than ${LONGEST_LINE / 2 ** 20} MiB: ` +
          'shorten or remove it',
      ]);
  }
  const bytes = Buffer.concat(rest);
  if (!isBlank(bytes)) yield { number: number + 1, bytes };
}

async function* bytesOf(file: string): AsyncGenerator<Buffer> {
  const handle = await open(file);
  const magic = Buffer.alloc(2);
  await handle.read(magic, 0, 2, 0);
  await handle.close();
  const raw = createReadStream(file);
  if (magic[0] !== 0x1f || magic[1] !== 0x8b) {
    yield* raw as AsyncIterable<Buffer>;
    return;
  }
  const unzipped = createGunzip();
  raw.on('error', (error) => unzipped.destroy(error));
  try {
    yield* raw.pipe(unzipped) as AsyncIterable<Buffer>;
  } catch (error) {
    throw new DataError([`task: ${file} can't be unzipped: ${(error as Error).message}`]);
  }
}

/**
 * @returns whether the first character that is not blank was seen. @throws DataError where it
 * begins an array
 */
function refuseArray(file: string, chunk: Buffer): boolean {
  const text = chunk.toString('latin1').replace(/^\xef\xbb\xbf/, '');
  const first = /[^ \t\r\n]/.exec(text)?.[0];
  if (first === '[')
    throw new DataError([
      `task: ${file} is a JSON array, and one JSON object in each line is read: write it with \`jq -c '.[]'\`, or name it in the task "huggingface"`,
    ]);
  return first !== undefined;
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
    row = JSON.parse(withLargeIntegersMarked(text)) as Json;
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

/** Before a number that a double can't hold: what no file can know. */
const MARK = `\ufdd0${randomUUID()} `;
const numberOrText = /["\d-]/g;
const numberHere = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/**
 * `JSON.parse` rounds integers from 2^53 on without a word. Here they become marked text, which is
 * then refused. Steps over text by hand: an expression that matches a text with millions of escapes
 * has no stack for it.
 */
function withLargeIntegersMarked(text: string): string {
  if (!/[\d.]{16}/.test(text)) return text;
  const parts: string[] = [];
  let copied = 0;
  let at = 0;
  for (;;) {
    numberOrText.lastIndex = at;
    const begin = numberOrText.exec(text)?.index;
    if (begin === undefined) return copied === 0 ? text : [...parts, text.slice(copied)].join('');
    if (text[begin] === '"') {
      at = endOfText(text, begin);
      continue;
    }
    numberHere.lastIndex = begin;
    const found = numberHere.exec(text)?.[0] ?? '-';
    at = begin + found.length;
    if (isKept(found)) continue;
    parts.push(text.slice(copied, begin), `"${MARK}${found}"`);
    copied = at;
  }
}

/** After the quote that ends the text which begins here; the end where there is none. */
function endOfText(json: string, begin: number): number {
  for (let end = json.indexOf('"', begin + 1); end !== -1; end = json.indexOf('"', end + 1)) {
    let slashes = 0;
    while (json[end - 1 - slashes] === '\\') slashes++;
    if (slashes % 2 === 0) return end + 1;
  }
  return json.length;
}

/**
 * Does a double keep a number? Yes below 2^53: it is an integer that a double holds, or a decimal.
 * From there on plain digits are refused, and what has a point or an exponent is kept where it is
 * the double, rounded to as many digits as are written.
 */
function isKept(written: string): boolean {
  const value = Math.abs(Number(written));
  if (value <= Number.MAX_SAFE_INTEGER || value === Number.POSITIVE_INFINITY) return true;
  if (/^-?\d+$/.test(written)) return false;
  const digits = digitsOf(written);
  // 100 digits are the most that are printed.
  if (digits.length <= 15 || digits.length > 100) return digits.length <= 15;
  return digitsOf(value.toPrecision(digits.length)) === digits;
}

/** The digits of a number without its sign, point, exponent, and zeros before and after. */
const digitsOf = (number: string) =>
  number
    .replace(/e.*/i, '')
    .replace(/\D/g, '')
    .replace(/^0+/, '')
    .replace(/(?<!0)0+$/, '');

/** What works on a row goes down by calls, of which there may be some thousands. */
const DEEPEST = 100;

/** What JSON can write and neither JavaScript nor Python can keep. */
function unusable(value: Json, depth = 1): string | null {
  if (depth > DEEPEST) return `values within each other, ${DEEPEST} deep and more`;
  if (typeof value === 'number')
    return Number.isFinite(value) ? null : 'a number beyond the range of doubles';
  if (typeof value === 'string') {
    if (value.startsWith(MARK)) {
      const digits = value.slice(MARK.length);
      const kind = /[.eE]/.test(digits) ? 'number' : 'integer';
      return (
        `the ${kind} ${digits}, which numbers can't hold exactly (from 2^53 on); write it as ` +
        `text: "${digits}"`
      );
    }
    return /\p{Surrogate}/u.test(value) ? 'half of a surrogate pair' : null;
  }
  if (value === null || typeof value !== 'object') return null;
  for (const item of Object.values(value)) {
    const why = unusable(item, depth + 1);
    if (why) return why;
  }
  return null;
}
