import { describe, expect, it } from 'vitest';
import { forEachYielding, mapInParts, runYielding, yieldToEventLoop } from '../src/event-loop.ts';

/** Turns of the event loop while `work` goes on. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let [turns, done] = [0, false];
  const ended = work.then(() => {
    done = true;
  });
  while (!done) {
    await yieldToEventLoop();
    turns++;
  }
  await ended;
  return turns;
}

const busy = (milliseconds: number) => {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
};

describe('mapInParts', () => {
  it('gives the results in order, two parts in work at a time', async () => {
    const sizes: number[] = [];
    let [running, most] = [0, 0];
    const results = await mapInParts([1, 2, 3, 4, 5, 6, 7], 2, async (part, from) => {
      sizes.push(part.length);
      most = Math.max(most, ++running);
      // The first of two takes longer.
      for (let i = 0; i < 10 - from; i++) await yieldToEventLoop();
      running--;
      return part.map((n) => 10 * n);
    });
    expect(results).toEqual([10, 20, 30, 40, 50, 60, 70]);
    expect(sizes).toEqual([2, 2, 2, 1]);
    expect(most).toBe(2);
  });

  it('takes items from whatever has a length and slices', async () => {
    const squares = {
      length: 5,
      slice: (from: number, to: number) =>
        Array.from({ length: Math.min(to, 5) - from }, (_, i) => (from + i) ** 2),
    };
    expect(await mapInParts(squares, 3, async (part) => part)).toEqual([0, 1, 4, 9, 16]);
    expect(await mapInParts([], 3, async (part) => part)).toEqual([]);
  });

  it('fails with the first part that failed, and begins no more', async () => {
    const begun: number[] = [];
    const work = mapInParts([0, 1, 2, 3, 4], 1, async ([n]) => {
      begun.push(n!);
      if (n === 1) throw new Error('part 1');
      return [n];
    });
    await expect(work).rejects.toThrow('part 1');
    expect(begun).toEqual([0, 1, 2]);
  });
});

it('long loops and generators let the event loop turn', async () => {
  const items = Array.from({ length: 2000 }, (_, i) => i);
  let sum = 0;
  const loop = forEachYielding(items, (item) => {
    sum += item;
    if (item % 100 === 0) busy(5);
  });
  expect(await turnsDuring(loop)).toBeGreaterThan(2);
  expect(sum).toBe(1_999_000);
  function* steps(): Generator<void, string> {
    for (let i = 0; i < 10; i++) {
      busy(5);
      yield;
    }
    return 'done';
  }
  const work = runYielding(steps());
  expect(await turnsDuring(work)).toBeGreaterThan(2);
  expect(await work).toBe('done');
});
