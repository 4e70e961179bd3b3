/**
 * Register chains: a start value and K labelled operations on a register modulo a prime, by default
 * 7. Prompt `4 | a -2 | b -3 | ... | h +5 | >`, response `a 2 b 6 ... h 1 .`. Every word is one
 * token.
 */

import type { Problem } from '../../../src/plugin-api.ts';
import { type Chain, chainsOf, type Machine } from '../chains/machine.ts';

export type { Chain };

const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** `+1` to `+6`, `*2` to `*6`, `-1` to `-6`, and as many more as a larger modulus has. */
const operationsOf = (modulus: number): string[] => [
  ...range(1, modulus - 1).map((n) => `+${n}`),
  ...range(2, modulus - 1).map((n) => `*${n}`),
  ...range(1, modulus - 1).map((n) => `-${n}`),
];

function result(register: number, operation: string, modulus: number): number {
  const operand = Number(operation.slice(1));
  const sign = operation[0];
  const raw =
    sign === '+' ? register + operand : sign === '*' ? register * operand : register - operand;
  return ((raw % modulus) + modulus) % modulus;
}

/** An outcome is the next register. Each cell is misconceived by itself. */
export function registerMachineOf(modulus: number): Machine {
  const operations = operationsOf(modulus);
  return {
    name: 'miniature',
    states: range(0, modulus - 1).map(String),
    operations,
    outcomes: modulus,
    next: Int16Array.from({ length: modulus * modulus }, (_, i) => i % modulus),
    right: (operation, register) => result(register, operations[operation]!, modulus),
    groups: operations.length * modulus,
    groupOf: (operation, register) => operation * modulus + register,
  };
}

/** Problems of a machine of registers: columns `start`, `steps` and `answer`. */
export function problemsOf(machine: Machine) {
  const { chainPrompt, truth } = chainsOf(machine);
  return {
    problemOf: (chain: Chain, id: string): Problem => ({
      id,
      prompt: chainPrompt(chain),
      columns: {
        start: chain.start,
        steps: chain.steps.map((operations) => [...operations]),
        answer: truth(chain).at(-1)!,
      },
    }),
    chainOf: ({ columns: { start, steps } }: Problem): Chain => ({
      ...{ start: start as number, steps: steps as string[][] },
    }),
  };
}

/** Modulo 7, the default. */
export const registerMachine = registerMachineOf(7);
export const OPERATIONS = registerMachine.operations;

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

export const { problemOf: chainProblem, chainOf } = problemsOf(registerMachine);
