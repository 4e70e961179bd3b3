/** Long work in pieces, so that heartbeats, Ctrl-C and other requests are served between them. */

/** Items of one piece: a few milliseconds of work. */
const PIECE = 256;

/** Lets the event loop turn once. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** `items.map(f)`, with a turn of the event loop after every 256 items. */
export async function mapInTurns<T, R>(items: readonly T[], f: (item: T, index: number) => R): Promise<R[]> {
  const results: R[] = [];
  for (const [i, item] of items.entries()) {
    if (i > 0 && i % PIECE === 0) await turn();
    results.push(f(item, i));
  }
  return results;
}
