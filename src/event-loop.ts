/**
 * Long work in pieces, so that heartbeats, Ctrl-C and other requests are served between them, and
 * so that what a piece needs is in memory for that piece alone.
 */

/** Milliseconds of work between two turns of the event loop. */
const PIECE = 10;

/** Lets the event loop turn once. */
export const yieldToEventLoop = (): Promise<void> =>
  new Promise((resolve) => setImmediate(resolve));

/**
 * `items.map(f)`, with a turn of the event loop after every 10 ms: one item more than that, and it
 * is held no longer.
 */
export async function mapYielding<T, R>(
  items: readonly T[],
  f: (item: T, index: number) => R,
): Promise<R[]> {
  const results: R[] = [];
  let began = performance.now();
  for (let i = 0; i < items.length; i++) {
    if (performance.now() - began > PIECE) {
      await yieldToEventLoop();
      began = performance.now();
    }
    results.push(f(items[i]!, i));
  }
  return results;
}

/**
 * `items.forEach(f)` for quick work on many items, with a turn of the event loop after every 10 ms.
 */
export async function forEachYielding<T>(
  items: readonly T[],
  f: (item: T, index: number) => void,
): Promise<void> {
  let began = performance.now();
  for (let i = 0; i < items.length; i++) {
    if (i % 256 === 255 && performance.now() - began > PIECE) {
      await yieldToEventLoop();
      began = performance.now();
    }
    f(items[i]!, i);
  }
}

/**
 * What a generator returns, with a turn of the event loop at the first `yield` after every 10 ms.
 */
export async function runYielding<R>(steps: Generator<void, R>): Promise<R> {
  let began = performance.now();
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    if (performance.now() - began <= PIECE) continue;
    await yieldToEventLoop();
    began = performance.now();
  }
}

/** An array, or what makes the items of a part when they are asked for. */
export interface Sliceable<T> {
  readonly length: number;
  /** Items `from` .. `to` - 1, as far as there are any. */
  slice(from: number, to: number): readonly T[];
}

/**
 * The results of all parts of at most `size` items, in order. Two parts are in work at a time, and
 * between two the event loop turns.
 *
 * @param f gives the results of one part, whose first item is number `from`
 */
export async function mapInParts<T, R>(
  items: Sliceable<T>,
  size: number,
  f: (part: readonly T[], from: number) => Promise<readonly R[]>,
): Promise<R[]> {
  const results: R[] = [];
  const running: Promise<readonly R[]>[] = [];
  const take = async () => {
    for (const result of await running.shift()!) results.push(result);
  };
  for (let from = 0; from < items.length; from += size) {
    if (running.length === 2) await take();
    if (from > 0) await yieldToEventLoop();
    const part = f(items.slice(from, from + size), from);
    part.catch(() => {}); // awaited above or below; it may fail before that
    running.push(part);
  }
  while (running.length > 0) await take();
  return results;
}
