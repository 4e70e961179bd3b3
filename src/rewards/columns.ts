/** Columns of a problem or a row of data, by name or by path. */
import type { Json, Problem } from '../types.ts';

/**
 * The value of a column, or of what lies within one: `reward_model.ground_truth` is the column of
 * that name, else `ground_truth` within the object that the column `reward_model` holds.
 *
 * @returns undefined where there is none
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

/** The same problem; one of a task in JavaScript may have no columns, whatever the type says. */
export const withColumns = (problem: Problem): Problem =>
  problem.columns ? problem : { ...problem, columns: {} };
