/** Problems as a critic sees them: without the reference columns that rewards are judged by. */
import type { Problem } from '../types.ts';

const blind = new WeakMap<Problem, Problem>();
const whole = new WeakMap<Problem, Problem>();

/** The problem with empty columns. The same object each time; itself if it has none. */
export function blindProblem(problem: Problem): Problem {
  // A task written in JavaScript may leave them out, whatever the type says.
  if (problem.columns && Object.keys(problem.columns).length === 0) return problem;
  const known = blind.get(problem) ?? { ...problem, columns: {} };
  blind.set(problem, known);
  whole.set(known, problem);
  return known;
}

/** The problem with its columns, for whoever rewards a response: what `blindProblem` was given. */
export const wholeProblem = (problem: Problem): Problem => whole.get(problem) ?? problem;
