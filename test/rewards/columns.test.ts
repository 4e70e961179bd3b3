import { expect, it } from 'vitest';
import { withColumns } from '../../src/rewards/columns.ts';
import { blindProblem } from '../../src/text/blind-problem.ts';
import type { Problem } from '../../src/types.ts';

const bare = { id: '0', prompt: 'Say ja.' } as Problem; // as a task in JavaScript may give it

it('a problem without columns has none, and is not changed where it has some', () => {
  expect(withColumns(bare)).toEqual({ ...bare, columns: {} });
  expect(blindProblem(bare)).toEqual({ ...bare, columns: {} });
  const full = { ...bare, columns: { answer: '1' } };
  expect(withColumns(full)).toBe(full);
});
