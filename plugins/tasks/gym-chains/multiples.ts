/**
 * `lcm` as a machine: the least common multiple so far, and numbers up to 10. The response to
 * `... numbers: 6, 10, 4` is `a 30 b 60 .`.
 */
import type { GymMachine } from './gym-machine.ts';

const [LEAST, MOST] = [2, 10];
const numbers = Array.from({ length: MOST - LEAST + 1 }, (_, i) => LEAST + i);

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
const lcm = (a: number, b: number): number => (a / gcd(a, b)) * b;

/** The numbers, and then all further multiples that they have. */
function multiples(): number[] {
  const found = new Set(numbers);
  for (const one of found) for (const number of numbers) found.add(lcm(one, number));
  const further = [...found].filter((one) => one > MOST).sort((a, b) => a - b);
  return [...numbers, ...further];
}

/** 1, 2, 4 or 8, and 1, 3 or 9. */
const POWERS = 12;
function powersIn(multiple: number): number {
  const twos = [8, 4, 2].find((power) => multiple % power === 0) ?? 1;
  const threes = [9, 3].find((power) => multiple % power === 0) ?? 1;
  return 3 * Math.log2(twos) + Math.round(Math.log(threes) / Math.log(3));
}

const asked = 'Find the Least Common Multiple (LCM) of these numbers:';

/**
 * An outcome is the number that is used in the end: who errs at a number takes another one in its
 * place. That may give the right multiple all the same, and a later number may mend a wrong one. A
 * number is misconceived wherever the multiple so far has the same powers of 2 and 3.
 */
export function multiplesMachine(steps: number): GymMachine {
  const states = multiples();
  const at = new Map(states.map((one, i) => [one, i]));
  return {
    name: 'gym-chains',
    states: states.map(String),
    starts: numbers.length,
    operations: numbers.map(String),
    outcomes: numbers.length,
    next: Int16Array.from(states.flatMap((one) => numbers.map((n) => at.get(lcm(one, n))!))),
    right: (operation) => operation,
    groups: numbers.length * POWERS,
    groupOf: (operation, state) => operation * POWERS + powersIn(states[state]!),
    // A factor that the last claim lacks, an earlier one that had it would give back.
    before: (truth, state) => at.get(gcd(states[truth]!, states[state]!)) ?? state,
    mends: true,
    generator: {
      name: 'lcm',
      parameters: {
        ...{ min_numbers: steps + 1, max_numbers: steps + 1 },
        ...{ min_value: LEAST, max_value: MOST },
      },
    },
    asked,
    words: asked.split(' '),
    written: (start, rest) => [start, ...rest].join(', '),
    spellings: [[', ', ' ']],
  };
}
