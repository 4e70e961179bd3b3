/** The option `heldout`: a share of the same rows, or rows of their own. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { heldOutKeys } from './order.ts';
import type { RowProblem } from './prompt.ts';

/** `{share, seed}`, beside whatever else names rows of their own. */
export const shareFields = {
  /** Of the different prompts, in (0, 1). Default: 0.1 where nothing else is held out. */
  share: z.number().gt(0).lt(1).optional(),
  /** Of the split, not of the run: runs with other seeds hold out the same problems. Default 0. */
  seed: z.int().nonnegative().optional(),
};

export interface Share {
  readonly share: number;
  readonly seed: number;
}

/** The share that is held out, or null where rows of their own are. */
export function shareOf(
  heldout: { share?: number | undefined; seed?: number | undefined },
  own: boolean,
): Share | null {
  return own ? null : { share: heldout.share ?? 0.1, seed: heldout.seed ?? 0 };
}

/**
 * For `superRefine`: `share` and `seed` have no effect beside `own`, the name of the option that
 * says where held-out rows are.
 */
export function refuseShare(
  heldout: { share?: number | undefined; seed?: number | undefined },
  own: string,
  context: z.RefinementCtx,
) {
  for (const name of ['share', 'seed'] as const) {
    if (heldout[name] === undefined) continue;
    context.addIssue({
      code: 'custom',
      path: ['heldout', name],
      message: `has no effect with heldout.${own}`,
    });
  }
}

/** What makes two prompts the same. */
export const keyOf = ({ prompt }: Pick<RowProblem, 'prompt'>) =>
  typeof prompt === 'string' ? prompt : JSON.stringify(prompt);

/** Indices of the rows with these keys on either side, in their order. */
export function splitByKey(
  keys: readonly string[],
  { share, seed }: Share,
): { train: number[]; heldout: number[] } {
  const held = heldOutKeys(keys, share, seed);
  const sides = { train: [] as number[], heldout: [] as number[] };
  keys.forEach((key, i) => {
    sides[held.has(key) ? 'heldout' : 'train'].push(i);
  });
  return sides;
}

/** The same for equal problems: prompt and columns. */
export function digestOf({ prompt, columns }: RowProblem): string {
  return createHash('sha256')
    .update(JSON.stringify([prompt, columns]))
    .digest('hex')
    .slice(0, 16);
}

/** Says how many held-out prompts are trained on, too. */
export function tellOfLeak(
  train: readonly string[],
  heldout: readonly string[],
  log: (text: string) => void,
): void {
  const known = new Set(train);
  const leaked = heldout.filter((key) => known.has(key)).length;
  if (leaked > 0)
    log(
      `task: ${leaked} of ${heldout.length} held-out problems have a prompt that is trained ` +
        'on, too',
    );
}
