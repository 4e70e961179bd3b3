import fc from 'fast-check';
import { expect, it } from 'vitest';
import { toUnit } from '../../src/math/unit.ts';

it('a reward of a range lies in [0, 1], rounding allowed for, and nothing else does', () => {
  expect([toUnit(0), toUnit(0.25), toUnit(1)]).toEqual([0, 0.25, 1]);
  expect([toUnit(1.0000001), toUnit(-1e-17), toUnit(Math.fround(1 + 1.2e-7))]).toEqual([1, 0, 1]);
  expect([toUnit(1.001), toUnit(-0.001), toUnit(Number.NaN), toUnit(Infinity)]).toEqual([
    null,
    null,
    null,
    null,
  ]);
  // Rounding is of the size of the bounds: a float32 sum of a range of hundreds holds its own end.
  expect([toUnit(Math.fround(123.4), [0, 123.4]), toUnit(123.5, [0, 123.4])]).toEqual([1, null]);
  expect([toUnit('1'), toUnit(null), toUnit(undefined)]).toEqual([null, null, null]);
  expect(toUnit(1, [-1, 3])).toBe(0.5);
  const number = fc.double({ noNaN: true, min: -1e6, max: 1e6 });
  fc.assert(
    fc.property(number, number, fc.double({ min: 0, max: 1, noNaN: true }), (low, width, share) => {
      fc.pre(Math.abs(width) > 1e-3);
      const range = [low, low + Math.abs(width)] as const;
      expect(toUnit(low + share * Math.abs(width), range)).toBeCloseTo(share, 5);
    }),
  );
});
