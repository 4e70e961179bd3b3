/** The oracle of examples/smollm2: it sees the steps of a calculation. */
import { describe, expect, it } from 'vitest';
import { equationsOf, judge } from '../../examples/smollm2/oracle.ts';

const actor = { parameters: 1.35e8, success_rate: 0.2 };
const score = (partial: string) => judge('What is 7 + 5 - 2?', 10, partial, actor).score;

describe('equations', () => {
  it.each([
    ['7 + 5 = 12', [['7 + 5', 12, 12]]],
    ['first 7 + 5 - 2 = 9, so', [['7 + 5 - 2', 9, 10]]],
    [
      '2 + 3 * 4 = 14 and 3 × -2 = -6',
      [
        ['2 + 3 * 4', 14, 14],
        ['3 × -2', -6, -6],
      ],
    ],
    ['-3 - 4 = -7', [['-3 - 4', -7, -7]]],
    ['7+5=12', [['7+5', 12, 12]]],
    ['no sums; 5 = 5', []],
    ['7 + 5 =', []],
  ])('of "%s"', (text, expected) => {
    expect(equationsOf(text).map(({ left, claimed, value }) => [left, claimed, value])).toEqual(
      expected,
    );
  });
});

it('gives what is not begun the success rate, a wrong step little, a right answer much', () => {
  expect(score('')).toBe(2);
  expect(score('Let us add.')).toBe(2);
  expect(score('7 + 5 = 13, ')).toBe(1);
  expect(score('7 + 5 = 12, ')).toBe(2);
  expect(score('7 + 5 = 12, 12 - 2 = 10')).toBe(8);
  expect(score('It is 11')).toBe(1);
});

it('says which step is wrong, and what it is', () => {
  expect(judge('What is 7 + 5 - 2?', 10, '7 + 5 = 13', actor).rationale).toBe(
    '7 + 5 - 2 = 10. The actor has 135.0M parameters and solves 20% of such problems. ' +
      '7 + 5 = 13 is wrong, it is 12.',
  );
});
