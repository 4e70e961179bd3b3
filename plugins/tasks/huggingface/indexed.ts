/**
 * Data sets whose rows can be had in any order: every row is looked at once, then problems come as
 * `ProblemOrder` says.
 */

import { DataError, type Problem, type Split } from '../../../src/plugin-api.ts';
import { type BadRowPolicy, BadRows } from '../rows/bad-rows.ts';
import { keyOf, type Share, splitByKey, tellOfLeak } from '../rows/held-out.ts';
import { ProblemOrder } from '../rows/order.ts';
import { BadRow, problemOfRow, type RowOptions } from '../rows/prompt.ts';
import type { Source } from './source.ts';

export type Problems = (
  split: Split,
  seed: number,
  from: number,
  count: number,
) => Promise<Problem[]>;

/** Rows of one request: some megabytes at the most where prompts are long. */
const chunk = 1000;

export interface Sources {
  readonly train: Source;
  /** null: a share of the rows is held out. */
  readonly heldout: Source | null;
}

export async function indexedProblems(
  { train, heldout }: Sources,
  rows: RowOptions,
  policy: BadRowPolicy,
  share: Share | null,
  log: (text: string) => void,
): Promise<Problems> {
  const known = await goodRows(train, rows, policy, log);
  let sides: Record<Split, { source: Source; indices: readonly number[] }>;
  if (heldout) {
    const own = await goodRows(heldout, rows, policy, log);
    tellOfLeak(known.keys, own.keys, log);
    sides = { train: { source: train, ...known }, heldout: { source: heldout, ...own } };
  } else {
    const { train: kept, heldout: held } = split(known.keys, share!);
    const side = (places: readonly number[]) => ({
      source: train,
      indices: places.map((i) => known.indices[i]!),
    });
    sides = { train: side(kept), heldout: side(held) };
  }
  const count = (side: Split) => sides[side].indices.length;
  log(
    `task: ${count('train')} problems to train on, ${count('heldout')} held out, from ` +
      `${train.name}`,
  );
  const orders = {
    train: new ProblemOrder(count('train'), 'train'),
    heldout: new ProblemOrder(count('heldout'), 'heldout'),
  };
  return async (side, seed, from, count) => {
    const { source, indices } = sides[side];
    const numbers = orders[side].indices(seed, from, count).map((i) => indices[i]!);
    const given = await source.rows(numbers);
    return given.map((row, i) => ({ id: `${side}-${numbers[i]}`, ...problemOfRow(row, rows) }));
  };
}

/** Indices of the rows that give a problem, and what makes each prompt the same as another. */
async function goodRows(
  source: Source,
  rows: RowOptions,
  policy: BadRowPolicy,
  log: (text: string) => void,
) {
  const bad = new BadRows(source.name, 'bad_rows', policy);
  const indices: number[] = [];
  const keys: string[] = [];
  for (let first = 0; first < source.size!; first += chunk) {
    const range = Array.from(
      { length: Math.min(chunk, source.size! - first) },
      (_, i) => first + i,
    );
    for (const [i, row] of (await source.rows(range)).entries()) {
      try {
        keys.push(keyOf(problemOfRow(row, rows)));
        indices.push(first + i);
      } catch (error) {
        if (!(error instanceof BadRow)) throw error;
        bad.add(`row ${first + i}`, error.message);
      }
    }
  }
  bad.settle(indices.length, log);
  return { indices, keys };
}

function split(keys: readonly string[], share: Share) {
  try {
    return splitByKey(keys, share);
  } catch (error) {
    throw new DataError([
      `task.heldout: ${(error as Error).message}; name a split of held-out problems`,
    ]);
  }
}
