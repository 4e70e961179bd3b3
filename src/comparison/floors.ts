/** Floors of every table: what a critic must do better than to be worth its cost. */
import { groupBy } from '../math/statistics.ts';
import type { Task } from '../task.ts';
import { UserError } from '../user-error.ts';
import type { JudgedState, Judgement } from './measures.ts';
import { type CollectedProblem, statesOf } from './states.ts';

type KeyOf = (state: JudgedState) => number | string;

/**
 * Each floor gives states of one key their mean reference value, fitted on the other problems.
 *
 * @param judgements of the same problems, in their order
 */
export function floorsOf(
  judgements: readonly Judgement[],
  problems: readonly CollectedProblem[],
  task: Pick<Task, 'stateClass'>,
): Record<string, Judgement[]> {
  const stateClass = task.stateClass?.bind(task);
  const classes = new Map<JudgedState, string>();
  if (stateClass)
    for (const [p, { states }] of judgements.entries()) {
      const { problem } = problems[p]!;
      const seen = statesOf(problems[p]!, p);
      for (const [i, state] of states.entries()) {
        const name: unknown = stateClass({ ...seen[i]!, problem });
        if (typeof name !== 'string')
          throw new UserError(`the task's stateClass must return a string, not ${typeof name}`);
        classes.set(state, name);
      }
    }
  const cases = groupBy(judgements.keys(), (p) => problems[p]!.problem.id);
  const floor = (keyOf: KeyOf) => floorOf(judgements, [...cases.values()], keyOf);
  return {
    constant: floor(() => 0),
    position: floor(({ index }) => index),
    ...(stateClass && { 'state class': floor((state) => classes.get(state)!) }),
  };
}

/**
 * @param cases numbers of the judgements of each problem: one for each actor that answered it
 * @param keyOf states of one key get one value
 */
function floorOf(
  judgements: readonly Judgement[],
  cases: readonly (readonly number[])[],
  keyOf: KeyOf,
): Judgement[] {
  const total = new Map<number | string, { sum: number; count: number }>();
  const add = (state: JudgedState, sign: 1 | -1) => {
    const own = total.get(keyOf(state)) ?? { sum: 0, count: 0 };
    own.sum += sign * state.reference.mean;
    own.count += sign;
    total.set(keyOf(state), own);
  };
  for (const { states } of judgements) for (const state of states) add(state, 1);
  const valued = new Array<Judgement>(judgements.length);
  for (const own of cases) {
    const ofProblem = own.flatMap((p) => judgements[p]!.states);
    for (const state of ofProblem) add(state, -1);
    const everything = [...total.values()];
    const count = everything.reduce((n, one) => n + one.count, 0);
    const overall = count === 0 ? 0.5 : everything.reduce((n, one) => n + one.sum, 0) / count;
    const meanOf = (state: JudgedState) => {
      const others = total.get(keyOf(state))!;
      return others.count === 0 ? overall : others.sum / others.count;
    };
    for (const p of own) {
      const { states, candidates } = judgements[p]!;
      valued[p] = {
        states: states.map((state) => {
          const value = Math.min(1, Math.max(0, meanOf(state)));
          return { ...state, value, parsed: true };
        }),
        candidates: candidates.map((one) => ({ ...one, value: overall })),
      };
    }
    for (const state of ofProblem) add(state, 1);
  }
  return valued;
}
