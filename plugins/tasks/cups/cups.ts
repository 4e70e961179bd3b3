/**
 * Cups: a ball under each of n cups, and K labelled steps that swap two cups each. With n = 5 it is
 * the word problem of S5, which is complete for NC1. A state is an arrangement, written as one word
 * of n digits: which ball is under each cup, from the left. The response to
 * `21345 | a 1-3 | b 2-5 | >` is `a 31245 b 35241 .`.
 */
import type { Problem } from '../../../src/plugin-api.ts';
import { type Chain, chainsOf, type Machine } from '../chains/machine.ts';

/** All arrangements of these balls, in the order of their words. */
function arrangementsOf(balls: readonly number[]): string[] {
  if (balls.length === 0) return [''];
  return balls.flatMap((ball) =>
    arrangementsOf(balls.filter((other) => other !== ball)).map((rest) => `${ball}${rest}`),
  );
}

/** The arrangement after the balls under two cups changed places; cups from 0. */
function swapped(arrangement: string, [left, right]: readonly [number, number]): string {
  const balls = [...arrangement];
  [balls[left], balls[right]] = [balls[right]!, balls[left]!];
  return balls.join('');
}

/**
 * An actor errs at a swap by making another one in its place. Swaps of the same two cups with the
 * same ball under the left one are misconceived together.
 *
 * @param cups 2 to 9, which a digit each names
 */
export function cupsMachine(cups: number): Machine {
  const places = Array.from({ length: cups }, (_, i) => i);
  const states = arrangementsOf(places.map((i) => i + 1));
  const index = new Map(states.map((word, i) => [word, i]));
  const swaps = places.flatMap((left) =>
    places.slice(left + 1).map((right) => [left, right] as const),
  );
  return {
    name: 'cups',
    states,
    operations: swaps.map(([left, right]) => `${left + 1}-${right + 1}`),
    outcomes: swaps.length,
    next: Int16Array.from(
      states.flatMap((state) => swaps.map((swap) => index.get(swapped(state, swap))!)),
    ),
    right: (operation) => operation,
    groups: swaps.length * cups,
    groupOf: (operation, state) =>
      operation * cups + Number(states[state]![swaps[operation]![0]]) - 1,
  };
}

/** Problems of a machine of cups: columns `start`, `swaps` and `answer` in words. */
export function problemsOf(machine: Machine) {
  const { chainPrompt, truth } = chainsOf(machine);
  const { states } = machine;
  return {
    problemOf: (chain: Chain, id: string): Problem => ({
      id,
      prompt: chainPrompt(chain),
      columns: {
        start: states[chain.start]!,
        swaps: chain.steps.flat(),
        answer: states[truth(chain).at(-1)!]!,
      },
    }),
    chainOf: ({ columns: { start, swaps } }: Problem): Chain => ({
      start: states.indexOf(start as string),
      steps: (swaps as string[]).map((swap) => [swap]),
    }),
  };
}
