/**
 * Actors as tables: p(next register | register, operation). A synthetic actor *is* such a table; a
 * real actor is described by the one measured from its weights. With a table the value of every
 * prefix is exact: dynamic programming over the 7 registers.
 */

import type { Random } from '../../../src/plugin-api.ts';
import { apply, type Chain, MODULUS, OPERATIONS, operationIndex, registers } from './chains.ts';

export const CELLS = OPERATIONS.length * MODULUS;

/** probabilities[(operation * 7 + register) * 7 + next]; each row of 7 sums to 1. */
export type ActorTable = Float64Array;

export const cellOf = (operation: string, register: number) =>
  operationIndex.get(operation)! * MODULUS + register;

/**
 * How often a misconceived cell gives its own wrong register: more often than the right one, yet
 * not so often that the right one is never tried.
 */
export const MISCONCEPTION = 0.6;

export interface ErrorMix {
  /** Probability of a random wrong register, in every cell. */
  readonly slip: number;
  /** Cells that are wrong more often than right. */
  readonly misconceptions: number;
  /** Probability of a misconceived cell's own wrong register. */
  readonly strength: number;
}

/** A table with slips in all cells and misconceptions in randomly chosen ones. */
export function syntheticTable(random: Random, mix: ErrorMix): ActorTable {
  const table = new Float64Array(CELLS * MODULUS);
  const misconceived = new Set(
    random.shuffled(Array.from({ length: CELLS }, (_, i) => i)).slice(0, mix.misconceptions),
  );
  for (let cell = 0; cell < CELLS; cell++) {
    const right = apply(cell % MODULUS, OPERATIONS[Math.floor(cell / MODULUS)]!);
    const row = table.subarray(cell * MODULUS, (cell + 1) * MODULUS);
    row.fill(mix.slip / (MODULUS - 1));
    row[right] = 1 - mix.slip;
    if (!misconceived.has(cell)) continue;
    const wrong = (right + 1 + random.integer(MODULUS - 1)) % MODULUS;
    row.fill(mix.slip / (MODULUS - 1));
    row[wrong] = mix.strength;
    row[right] = Math.max(0, 1 - mix.strength - (5 * mix.slip) / (MODULUS - 1));
  }
  return table;
}

/**
 * A table that succeeds on about `success` of all chains of `steps` operations: up to 60% of the
 * errors are slips, the rest misconceptions.
 */
export function tableForSuccess(random: Random, success: number, steps: number): ActorTable {
  const error = 1 - success ** (1 / steps);
  const slip = error * 0.6 * random.uniform();
  const strength = MISCONCEPTION;
  return syntheticTable(random, {
    slip,
    strength,
    misconceptions: Math.round(((error - slip) * CELLS) / (strength - slip)),
  });
}

export function rightProbability(table: ActorTable, operation: string, register: number): number {
  return table[cellOf(operation, register) * MODULUS + apply(register, operation)]!;
}

/**
 * The claims of steps from `claims.length` on, drawn from the table; the actor goes on from its own
 * last claim, right or wrong.
 */
export function continueChain(
  table: ActorTable,
  chain: Chain,
  claims: readonly number[],
  random: Random,
): number[] {
  const result = [...claims];
  let register = claims.at(-1) ?? chain.start;
  for (let k = claims.length; k < chain.steps.length; k++) {
    for (const operation of chain.steps[k]!) {
      const cell = cellOf(operation, register);
      register = random.weighted(table.subarray(cell * MODULUS, (cell + 1) * MODULUS));
    }
    result.push(register);
  }
  return result;
}

/** Exact probability that the actor ends with the right register from here. */
export function exactValue(table: ActorTable, chain: Chain, claims: readonly number[]): number {
  let distribution = new Float64Array(MODULUS);
  distribution[claims.at(-1) ?? chain.start] = 1;
  for (const operation of chain.steps.slice(claims.length).flat()) {
    const next = new Float64Array(MODULUS);
    for (let register = 0; register < MODULUS; register++) {
      const cell = cellOf(operation, register) * MODULUS;
      for (let to = 0; to < MODULUS; to++) next[to]! += distribution[register]! * table[cell + to]!;
    }
    distribution = next;
  }
  return distribution[registers(chain).at(-1)!]!;
}

/** Mean exact success of a table on these chains. */
export function successRate(table: ActorTable, chains: readonly Chain[]): number {
  return chains.reduce((sum, chain) => sum + exactValue(table, chain, []), 0) / chains.length;
}
