/**
 * A data set in the worker `python`, as the package `datasets` loads it: opened once, read in
 * parts.
 */
import { existsSync } from 'node:fs';
import {
  ConfigError,
  DataError,
  isWrittenAsPath,
  type Json,
  nearest,
  type PythonFunctions,
  pathFrom,
} from '../../../src/plugin-api.ts';
import { BadRow, promptColumns, type Row, type RowOptions, rootOf } from '../rows/prompt.ts';

export interface DataOptions {
  /** Hub name, folder, or file(s). */
  readonly data: string | readonly string[];
  readonly configuration: string | null;
  readonly split: string;
  readonly revision: string | null;
}

export interface StreamOrder {
  /** Unsigned 32 bits. */
  readonly seed: number;
  /** Rows that are drawn from at a time; null: no shuffling. */
  readonly buffer: number | null;
}

const endings = /\.(?:parquet|jsonl?|csv|tsv|arrow)(?:\.gz)?$/i;

/**
 * Absolute paths for what is on this machine; a Hub name as it is. @throws ConfigError for a path
 * that is not there
 */
export function locate(data: string | readonly string[], base: string, option: string) {
  const files = typeof data === 'string' ? [data] : data;
  const paths = files.map((name) => {
    const path = pathFrom(base, name);
    if (existsSync(path)) return path;
    const isPath = typeof data !== 'string' || isWrittenAsPath(name) || endings.test(name);
    if (!isPath) return null;
    if (/[*?[]/.test(name)) return path;
    throw new ConfigError([`task.${option}: there is no file or folder ${path}`]);
  });
  const local = paths.every((path) => path !== null);
  return {
    local,
    data: local ? (paths.length === 1 ? paths[0]! : (paths as string[])) : (data as string),
  };
}

export class Source {
  /** What messages call it. */
  readonly name: string;
  /** null: streamed. */
  readonly size: number | null;
  /** Those that are read, under their own names; null: all, of a stream that doesn't tell. */
  readonly #columns: string[] | null;
  readonly #python: PythonFunctions;
  readonly #handle: string;

  private constructor(
    name: string,
    size: number | null,
    columns: string[] | null,
    python: PythonFunctions,
    handle: string,
  ) {
    [this.name, this.size, this.#columns, this.#python, this.#handle] = [
      name,
      size,
      columns,
      python,
      handle,
    ];
  }

  static async open(
    python: PythonFunctions,
    base: string,
    given: DataOptions,
    streaming: boolean,
    rows: RowOptions,
    option = 'data',
  ): Promise<Source> {
    const { configuration, split, revision } = given;
    const { local, data } = locate(given.data, base, option);
    const answer = await ask(python, 'open_data', {
      data,
      local,
      configuration,
      split,
      revision,
      streaming,
    });
    const name = `${typeof given.data === 'string' ? given.data : given.data.join(', ')} (${split})`;
    const found = answer.columns as Record<string, string | null> | null;
    const columns = columnsToRead(name, found, rows);
    return new Source(name, answer.rows as number | null, columns, python, answer.handle as string);
  }

  /** The rows with these indices, or what is wrong with one. */
  async rows(indices: readonly number[]): Promise<(Row | BadRow)[]> {
    const keywords = { handle: this.#handle, indices: [...indices], columns: this.#columns! };
    return rowsOf(await ask(this.#python, 'rows', keywords, this.name));
  }

  /**
   * Rows of a stream by their place in the order, fewer at its end. Each `reader` goes forward on
   * its own.
   */
  async stream(
    reader: string,
    order: StreamOrder,
    first: number,
    count: number,
  ): Promise<(Row | BadRow)[]> {
    const keywords = {
      handle: this.#handle,
      reader,
      ...order,
      first,
      count,
      columns: this.#columns,
    };
    return rowsOf(await ask(this.#python, 'stream', keywords, this.name));
  }
}

/** What `plain_rows` of `hub_data.py` answers. */
function rowsOf(answer: Readonly<Record<string, Json>>): (Row | BadRow)[] {
  const rows: (Row | BadRow)[] = answer.rows as Row[];
  for (const [place, why] of answer.bad as [number, string][]) rows[place] = new BadRow(why);
  return rows;
}

/** Calls a function of `hub_data.py`; what the user can mend is one `DataError`. */
async function ask(
  python: PythonFunctions,
  name: string,
  keywords: Record<string, Json>,
  where?: string,
) {
  const answer = (await python.call(`genac_bridge.functions.hub_data:${name}`, keywords)) as Record<
    string,
    Json
  >;
  if ('problem' in answer)
    throw new DataError([`task: ${where ? `${where}: ` : ''}${answer.problem}`]);
  return answer;
}

/** The columns that the options ask for, checked, under their own names. */
function columnsToRead(
  name: string,
  found: Readonly<Record<string, string | null>> | null,
  options: RowOptions,
): string[] | null {
  const named = options.columns && [...promptColumns(options), ...options.columns];
  const theirs = theirNames(options);
  if (!found) {
    const asked = named && [...named.map(theirs), ...Object.keys(options.rename)];
    // Whether `a.b` is a column or lies within column `a`, the rows will tell.
    return asked && [...new Set(asked.flatMap((column) => [column, rootOf(column)]))];
  }
  const all = Object.keys(found);
  const root = (column: string) => (all.includes(column) ? column : rootOf(column));
  for (const column of [
    ...Object.keys(options.rename),
    ...[...promptColumns(options), ...(named ?? [])].map(theirs),
  ]) {
    if (all.includes(root(column))) continue;
    const close = nearest(column, all);
    throw new ConfigError([
      `task: ${name} has no column "${column}"; ${close ? `did you mean "${close}"?` : `it has: ${all.join(', ')}`}`,
    ]);
  }
  const wanted = named
    ? [...new Set([...named.map(theirs), ...Object.keys(options.rename)].map(root))]
    : all;
  for (const column of wanted) {
    if (found[column] === null) continue;
    throw new ConfigError([
      `task: column "${column}" of ${name} holds ${found[column]}, which is not plain JSON; ` +
        'name the columns that are needed in task.columns',
    ]);
  }
  return wanted;
}

/** From the names that options use, and paths within them, to the data's own. */
function theirNames({ rename }: RowOptions): (ours: string) => string {
  const theirs = new Map(Object.entries(rename).map(([from, to]) => [to, from]));
  return (ours) => {
    const root = rootOf(ours);
    return theirs.get(ours) ?? (theirs.get(root) ?? root) + ours.slice(root.length);
  };
}
