/** Columns of a problem or a row of data, by name or by path. */
import type { Json, Problem } from '../types.ts';

/**
 * Returns the value of a column, or of a part of one: `reward_model.ground_truth` is the column of
 * that name, else `ground_truth` within the object in the column `reward_model`.
 *
 * @returns undefined if there is none
 */
export function valueAt(columns: Readonly<Record<string, Json>>, path: string): Json | undefined {
  if (Object.hasOwn(columns, path)) return columns[path];
  const [root, ...rest] = path.split('.');
  let value = Object.hasOwn(columns, root!) ? columns[root!] : undefined;
  for (const key of rest) {
    const holder =
      value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {};
    value = Object.hasOwn(holder, key) ? holder[key] : undefined;
  }
  return rest.length > 0 ? value : undefined;
}

/** Adds missing columns, because a task in JavaScript may have none, whatever its type says. */
export const withColumns = (problem: Problem): Problem =>
  problem.columns ? problem : { ...problem, columns: {} };
