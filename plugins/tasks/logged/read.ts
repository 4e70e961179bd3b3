/** Reads logs of rollouts: one JSONL file, or a folder of them. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, DataError, toUnit } from '../../../src/plugin-api.ts';
import { BadRows } from '../rows/bad-rows.ts';
import { linesOf, rowOfLine } from '../rows/json-lines.ts';
import { BadRow } from '../rows/prompt.ts';
import { type LoggedRow, type ReadOptions, rolloutOfRow } from './columns.ts';

export interface LogOptions extends ReadOptions {
  readonly rescale: readonly [number, number] | null;
  readonly bad_lines: 'error' | 'drop';
}

/**
 * Files of a log; a folder's in the order of the numbers in their names (`2.jsonl` before
 * `10.jsonl`).
 */
export function filesOf(path: string): string[] {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isFile()) return [path];
  if (!found?.isDirectory())
    throw new ConfigError([`task.file: there is no file or folder ${path}`]);
  const names = readdirSync(path).filter((name) => name.endsWith('.jsonl'));
  for (const name of names) {
    if (!statSync(join(path, name), { throwIfNoEntry: false })?.isFile())
      throw new ConfigError([
        `task.file: ${join(path, name)} is not a file: remove it, or name one file`,
      ]);
  }
  if (names.length === 0) throw new ConfigError([`task.file: there is no .jsonl file in ${path}`]);
  const order = new Intl.Collator('en', { numeric: true });
  return names.sort(order.compare).map((name) => join(path, name));
}

/** Rollouts with rewards in [0, 1]. @throws ConfigError that names the lines that are none */
export async function readLog(
  path: string,
  options: LogOptions,
  log: (text: string) => void,
): Promise<LoggedRow[]> {
  const bad = new BadRows(path, 'bad_lines', options.bad_lines);
  const rows: LoggedRow[] = [];
  const files = filesOf(path);
  for (const file of files) {
    for await (const { number, bytes } of linesOf(file)) {
      try {
        const row = rolloutOfRow(rowOfLine(bytes), options);
        rows.push({ ...row, reward: rescaled(row.reward, options.rescale) });
      } catch (error) {
        if (!(error instanceof BadRow)) throw error;
        bad.add(files.length > 1 ? `${file}, line ${number}` : `line ${number}`, error.message);
      }
    }
  }
  bad.settle(rows.length, log);
  const stepless = rows.filter(({ step }) => step === null).length;
  if (stepless > 0 && stepless < rows.length)
    throw new DataError([
      `task: ${path} has a step in ${rows.length - stepless} rows and none in ${stepless}`,
    ]);
  return rows;
}

/** Rewards outside the range say that the range is wrong: nothing is clipped. */
function rescaled(reward: number, range: LogOptions['rescale']): number {
  const [low, high] = range ?? [0, 1];
  const unit = toUnit(reward, [low, high]);
  if (unit !== null) return unit;
  const advice = range
    ? 'mend task.rescale'
    : 'say the range of the rewards in task.rescale: [lowest, highest]';
  throw new BadRow(`the reward ${reward} is outside [${low}, ${high}]; ${advice}`);
}
