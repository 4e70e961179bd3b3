/**
 * Register chains: a start value and K labelled steps of b operations each on a register modulo 7.
 * With b = 1: prompt `4 | a -2 | b -3 | ... | h +5 | >`, response `a 2 b 6 ... h 1 .`. Every word
 * is one token.
 */

import type { Problem } from '../../../src/plugin-api.ts';
import { type Chain, chainsOf, type Machine } from '../chains/machine.ts';

export type { Chain };

const MODULUS = 7;

const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** +1..+6, *2..*6, -1..-6. */
export const OPERATIONS: readonly string[] = [
  ...range(1, 6).map((n) => `+${n}`),
  ...range(2, 6).map((n) => `*${n}`),
  ...range(1, 6).map((n) => `-${n}`),
];

function result(register: number, operation: string): number {
  const operand = Number(operation[1]);
  const sign = operation[0];
  const raw =
    sign === '+' ? register + operand : sign === '*' ? register * operand : register - operand;
  return ((raw % MODULUS) + MODULUS) % MODULUS;
}

/** An outcome is the next register. Each cell is misconceived by itself. */
export const registerMachine: Machine = {
  name: 'miniature',
  states: range(0, MODULUS - 1).map(String),
  operations: OPERATIONS,
  outcomes: MODULUS,
  next: Int16Array.from({ length: MODULUS * MODULUS }, (_, i) => i % MODULUS),
  right: (operation, register) => result(register, OPERATIONS[operation]!),
  groups: OPERATIONS.length * MODULUS,
  groupOf: (operation, register) => operation * MODULUS + register,
};

export const {
  apply,
  drawChain,
  /** The true register after each step. */
  truth: registers,
  chainPrompt,
  parseChain,
  claimsText,
  classOf,
  parseClaims,
  chainReward,
  rationaleOf,
} = chainsOf(registerMachine);

export function chainProblem(chain: Chain, id: string): Problem {
  return {
    id,
    prompt: chainPrompt(chain),
    columns: {
      start: chain.start,
      steps: chain.steps.map((operations) => [...operations]),
      answer: registers(chain).at(-1)!,
    },
  };
}

export function chainOf(problem: Problem): Chain {
  const { start, steps } = problem.columns;
  return { start: start as number, steps: steps as string[][] };
}
