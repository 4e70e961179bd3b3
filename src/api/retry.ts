/** Waiting times between tries. */

/** Longest wait between two tries in seconds, unless the server asks for a longer one. */
const LONGEST_BACKOFF = 60;

/**
 * Returns the seconds before try number `failed + 1`. They double each time, and are between half
 * and all of it at random, so that many requests don't return at once.
 *
 * @param failed tries so far, at least 1
 * @param first seconds after the first try
 */
export function backoff(failed: number, first: number, random: () => number = Math.random): number {
  return Math.min(LONGEST_BACKOFF, first * 2 ** (failed - 1)) * (0.5 + 0.5 * random());
}

/**
 * Reads the header `Retry-After`: seconds, or an HTTP date. @returns seconds from `now`
 * (milliseconds), at least 0; null: absent or unreadable
 */
export function retryAfter(header: string | null, now: number): number | null {
  if (header === null) return null;
  if (/^\s*\d+(?:\.\d+)?\s*$/.test(header)) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, (date - now) / 1000);
}
