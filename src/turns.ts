/** Long work in pieces, so that heartbeats, Ctrl-C and other requests are served between them. */

/** Milliseconds of work between two turns of the event loop. */
const PIECE = 10;

/** Lets the event loop turn once. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * `items.map(f)`, with a turn of the event loop after every 10 ms: one item more than that, and it
 * is held no longer.
 */
export async function mapInTurns<T, R>(items: readonly T[], f: (item: T, index: number) => R): Promise<R[]> {
  const results: R[] = [];
  let began = performance.now();
  for (const [i, item] of items.entries()) {
    if (performance.now() - began > PIECE) {
      await turn();
      began = performance.now();
    }
    results.push(f(item, i));
  }
  return results;
}
