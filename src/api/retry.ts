/** When to try again. */

/** Longest wait between two tries that is not asked for, in seconds. */
const LONGEST_BACKOFF = 60;

/**
 * Seconds before try number `failed + 1`: doubled each time, between half and all of it at random,
 * so that many requests don't come back at once.
 *
 * @param failed tries so far, at least 1
 * @param first seconds after the first one
 */
export function backoff(failed: number, first: number, random: () => number = Math.random): number {
  return Math.min(LONGEST_BACKOFF, first * 2 ** (failed - 1)) * (0.5 + 0.5 * random());
}

/**
 * The header `Retry-After`: seconds, or an HTTP date. @returns seconds from `now` (milliseconds),
 * at least 0; null: there is none that can be read
 */
export function retryAfter(header: string | null, now: number): number | null {
  if (header === null) return null;
  if (/^\s*\d+(?:\.\d+)?\s*$/.test(header)) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, (date - now) / 1000);
}
