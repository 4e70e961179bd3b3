/** Reads budgets and their success off the curve of a run. */
import type { CurvePoint } from './work.ts';

/** Success at a budget, on the line between evaluations; NaN: the run ended before. */
export function successAt(
  curve: readonly CurvePoint[],
  of: 'iteration' | 'actor_tokens' | 'all_tokens' | 'seconds',
  budget: number,
): number {
  const next = curve.findIndex((point) => point[of] >= budget);
  if (next === -1) return Number.NaN;
  const [before, after] = [curve[Math.max(0, next - 1)]!, curve[next]!];
  const width = after[of] - before[of];
  const share = width === 0 ? 1 : (budget - before[of]) / width;
  return before.success + share * (after.success - before.success);
}

/** What success of a half costs, on the line between evaluations; NaN: it was not reached. */
export function costOfHalf(
  curve: readonly CurvePoint[],
  of: 'actor_tokens' | 'all_tokens' | 'seconds',
): number {
  const next = curve.findIndex(({ success }) => success >= 0.5);
  if (next === -1) return Number.NaN;
  const [before, after] = [curve[Math.max(0, next - 1)]!, curve[next]!];
  const rise = after.success - before.success;
  const share = rise <= 0 ? 1 : (0.5 - before.success) / rise;
  return before[of] + share * (after[of] - before[of]);
}
