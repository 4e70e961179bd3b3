/** What a critic's values cost: tokens and seconds. */
import type { UpdateMetrics } from '../critic.ts';
import type { Valuation } from '../types.ts';
import { distinctPrefixTokens } from './shared-prefixes.ts';

export interface Cost {
  readonly states: number;
  /** Tokens of prompts: each state's is read once, whatever the number of its completions. */
  readonly read: number;
  /** The same, if what prompts begin with alike is read once. */
  readonly read_shared: number;
  /** Tokens that the critic wrote, or let the actor write. */
  readonly written: number;
  readonly seconds: number;
  /** Dollars, where the critic says. */
  readonly dollars: number;
}

export const noCost: Cost = {
  ...{ states: 0, read: 0, read_shared: 0, written: 0, seconds: 0, dollars: 0 },
};

/** What critics without completions of their own report, by the last part of its name. */
const reported: Readonly<Record<string, readonly (keyof Cost)[]>> = {
  value_tokens_read: ['read', 'read_shared'],
  actor_tokens_read: ['read', 'read_shared'],
  actor_tokens: ['written'],
  api_input_tokens: ['read', 'read_shared'],
  api_output_tokens: ['written'],
  api_cost: ['dollars'],
};

export function costOf(
  valuations: readonly Valuation[],
  reports: readonly UpdateMetrics[],
  seconds: number,
): Cost {
  const completions = valuations.flatMap((valuation) => valuation.completions);
  const parts = [...new Set(completions.map(({ part }) => part))];
  // Each part of an ensemble reads its own, though another may have the same.
  const prompts = parts.map((part) =>
    valuations.flatMap((valuation) =>
      distinct(valuation.completions.flatMap((one) => (one.part === part ? [one.promptIds] : []))),
    ),
  );
  const length = (ids: readonly Int32Array[]) => ids.reduce((sum, one) => sum + one.length, 0);
  const cost: { -readonly [K in keyof Cost]: number } = {
    states: valuations.length,
    read: length(prompts.flat()),
    read_shared: prompts.reduce((sum, own) => sum + distinctPrefixTokens(own), 0),
    written: completions.reduce(
      (sum, { completionIds, mask }) => sum + drawn(completionIds, mask),
      0,
    ),
    ...{ seconds, dollars: 0 },
  };
  for (const metrics of reports)
    for (const [name, value] of Object.entries(metrics))
      for (const part of reported[name.slice(name.lastIndexOf('/') + 1)] ?? []) cost[part] += value;
  return cost;
}

/** Completions of one state have one prompt. */
function distinct(prompts: readonly Int32Array[]): Int32Array[] {
  const found: Int32Array[] = [];
  for (const ids of prompts) {
    const isSame = (one: Int32Array) =>
      one.length === ids.length && one.every((id, i) => id === ids[i]);
    if (!found.some(isSame)) found.push(ids);
  }
  return found;
}

/** What the critic drew itself. */
const drawn = (ids: Int32Array, mask: Uint8Array | undefined): number =>
  mask === undefined ? ids.length : mask.reduce((sum, one) => sum + one, 0);

export const addCosts = (a: Cost, b: Cost): Cost =>
  Object.fromEntries(
    (Object.keys(noCost) as (keyof Cost)[]).map((part) => [part, a[part] + b[part]]),
  ) as unknown as Cost;
