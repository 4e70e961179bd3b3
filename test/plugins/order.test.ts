import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { heldOutKeys, ProblemOrder, placeOf } from '../../plugins/tasks/rows/order.ts';

const size = fc.integer({ min: 1, max: 60 });
const seed = fc.nat(2 ** 40);

describe('the order of problems', () => {
  it('gives every problem once in each epoch', () => {
    fc.assert(
      fc.property(size, seed, fc.nat(5), (size, seed, epoch) => {
        const indices = new ProblemOrder(size, 'train').indices(seed, epoch * size, size);
        expect([...indices].sort((a, b) => a - b)).toEqual(
          Array.from({ length: size }, (_, i) => i),
        );
      }),
    );
  });

  it('is the same however it is cut, and whatever was asked before', () => {
    fc.assert(
      fc.property(
        size,
        seed,
        fc.nat(200),
        fc.nat(50),
        fc.nat(300),
        (size, seed, from, count, before) => {
          const order = new ProblemOrder(size, 'train');
          order.indices(seed, before, 7);
          order.indices(seed + 1, before, 7);
          const all = new ProblemOrder(size, 'train').indices(seed, 0, from + count);
          expect(order.indices(seed, from, count)).toEqual(all.slice(from));
        },
      ),
    );
  });

  it('differs between epochs, seeds and splits', () => {
    const order = new ProblemOrder(50, 'train');
    const orders = [
      order.indices(0, 0, 50),
      order.indices(0, 50, 50),
      order.indices(1, 0, 50),
      new ProblemOrder(50, 'heldout').indices(0, 0, 50),
    ];
    expect(new Set(orders.map((indices) => indices.join())).size).toBe(4);
  });

  it('of no problems is an error', () => {
    expect(() => new ProblemOrder(0, 'train')).toThrow('a set of 0 problems has no order');
  });
});

describe('a held-out share', () => {
  const keys = fc.uniqueArray(fc.string(), { minLength: 2, maxLength: 80 });
  const share = fc.double({ min: 0.01, max: 0.99, noNaN: true });

  it('is as large as it was asked to be, at least one key and never all', () => {
    fc.assert(
      fc.property(keys, share, seed, (keys, share, seed) => {
        const { size } = heldOutKeys([...keys, ...keys], share, seed);
        expect(size).toBe(Math.min(keys.length - 1, Math.max(1, Math.round(share * keys.length))));
      }),
    );
  });

  it('does not depend on the order of the keys', () => {
    fc.assert(
      fc.property(keys, share, seed, (keys, share, seed) => {
        expect(heldOutKeys([...keys].reverse(), share, seed)).toEqual(
          heldOutKeys(keys, share, seed),
        );
      }),
    );
  });

  it('hardly moves as keys are added: whoever stays on its side of every new bound stays held out', () => {
    const many = Array.from({ length: 1000 }, (_, i) => `problem ${i}`);
    const before = heldOutKeys(many.slice(0, 900), 0.1, 0);
    const after = heldOutKeys(many, 0.1, 0);
    const left = [...before].filter((key) => !after.has(key)).length;
    expect(left).toBeLessThan(10);
  });

  it('needs two different keys', () => {
    expect(() => heldOutKeys(['a', 'a'], 0.5, 0)).toThrow(
      "1 different prompts can't be split in two",
    );
  });

  it('places are even in [0, 1), and others for another seed', () => {
    const places = Array.from({ length: 2000 }, (_, i) => placeOf(`k${i}`, 0));
    const below = (bound: number) => places.filter((place) => place < bound).length / places.length;
    expect(below(0)).toBe(0);
    expect(below(0.25)).toBeCloseTo(0.25, 1);
    expect(below(1)).toBe(1);
    expect(placeOf('k0', 1)).not.toBe(places[0]);
  });
});
