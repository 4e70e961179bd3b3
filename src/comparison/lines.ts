/** Results kept line by line, so that what was interrupted, or is asked once more, goes on. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { jsonLinesOf } from '../files/json-lines.ts';
import { appendText, refuseNoFile } from '../files/text-file.ts';

export const digestOf = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

/** Sizes and times of a model's files, by which another model in its place is noticed. */
export function fingerprint(model: string): unknown {
  if (!existsSync(model) || !statSync(model).isDirectory()) return model;
  const files = readdirSync(model, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => {
      const { size, mtimeMs } = statSync(join(model, name));
      return [name, size, mtimeMs];
    });
  return [resolve(model), files.sort()];
}

export class Lines<T> {
  readonly #path: string;
  /** What is known, in order. */
  readonly known: readonly T[];

  private constructor(path: string, known: readonly T[]) {
    this.#path = path;
    this.known = known;
  }

  /**
   * Lines that were written for the same `digest` stay; others, and half a line, are dropped.
   *
   * @param log hears of lines that are dropped, which may have taken hours
   */
  static async open<T>(
    path: string,
    digest: string,
    log: (text: string) => void,
  ): Promise<Lines<T>> {
    refuseNoFile(path);
    await mkdir(dirname(path), { recursive: true });
    if (existsSync(path)) {
      await truncate(path, readFileSync(path).lastIndexOf(10) + 1);
      const [head, ...known] = [...jsonLinesOf(path, { last: 'ignore' })].map(({ value }) => value);
      if ((head as { digest?: unknown } | undefined)?.digest === digest)
        return new Lines(path, known as T[]);
      if (known.length > 0)
        log(`${path} was made with other options, models or files, and is made anew`);
    }
    await writeFile(path, `${JSON.stringify({ digest })}\n`);
    return new Lines<T>(path, []);
  }

  add(line: T): void {
    appendText(this.#path, `${JSON.stringify(line)}\n`);
  }
}
