import { expect, test } from 'vitest';
import { rankedFirst } from '../../src/comparison/ranking.ts';
import { Random } from '../../src/math/random.ts';

/** All subsets of `size`. */
function subsets<T>(items: readonly T[], size: number): T[][] {
  if (size === 0) return [[]];
  return items.flatMap((first, i) =>
    subsets(items.slice(i + 1), size - 1).map((rest) => [first, ...rest]),
  );
}

test('is the mean over all pools that there are', () => {
  const random = new Random([3, 4]);
  for (let trial = 0; trial < 200; trial++) {
    const responses = Array.from({ length: 2 + random.integer(7) }, () => ({
      value: random.integer(4) / 10,
      right: random.uniform() < 0.4,
    }));
    const [right, wrong] = [true, false].map((is) => responses.filter((one) => one.right === is));
    for (const size of [2, 3, 4]) {
      const chances = right!.flatMap(({ value }) =>
        subsets(wrong!, size - 1).map((others) => {
          if (others.some((other) => other.value > value)) return 0;
          return 1 / (1 + others.filter((other) => other.value === value).length);
        }),
      );
      const found = rankedFirst(responses, size);
      if (chances.length === 0) expect(found).toBeNull();
      else expect(found).toBeCloseTo(chances.reduce((a, b) => a + b) / chances.length, 10);
    }
  }
});
