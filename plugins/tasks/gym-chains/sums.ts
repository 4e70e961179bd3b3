/**
 * `chain_sum` as a machine: a running total, and terms of one digit that are added or subtracted.
 * The response to `... problem: 4 - 1 + 7 =` is `a 3 b 10 .`.
 */
import type { GymMachine } from './gym-machine.ts';

const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** The largest term. */
const MOST = 9;

const asked = 'State the final answer to the following arithmetic problem:';

/**
 * An outcome is what is added in the end, from -9 to 9: who errs at a term adds another number. A
 * term is misconceived wherever the total ends with the same digit.
 */
export function sumsMachine(steps: number): GymMachine {
  const largest = MOST * (steps + 1);
  const totals = [...range(0, largest), ...range(-MOST * steps, -1)];
  const at = new Map(totals.map((total, i) => [total, i]));
  const within = (total: number) => Math.min(largest, Math.max(-MOST * steps, total));
  const operations = ['+', '-'].flatMap((sign) => range(0, MOST).map((term) => sign + term));
  const outcomes = 2 * MOST + 1;
  return {
    name: 'gym-chains',
    states: totals.map(String),
    starts: MOST + 1,
    operations,
    outcomes,
    next: Int16Array.from(
      totals.flatMap((total) => range(-MOST, MOST).map((add) => at.get(within(total + add))!)),
    ),
    right: (operation) => Number(operations[operation]) + MOST,
    groups: operations.length * 10,
    groupOf: (operation, state) => operation * 10 + (Math.abs(totals[state]!) % 10),
    generator: {
      name: 'chain_sum',
      parameters: { min_terms: steps + 1, max_terms: steps + 1, min_digits: 1, max_digits: 1 },
    },
    asked,
    words: [...asked.split(' '), '='],
    written: (start, terms) =>
      `${start} ${terms.map((term) => `${term[0]} ${term.slice(1)}`).join(' ')} =`,
    spellings: [
      ['+ ', '+'],
      ['- ', '-'],
    ],
  };
}
