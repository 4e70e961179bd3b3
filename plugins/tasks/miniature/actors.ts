/** Actors as tables: p(next register | register, operation). */
import { tablesOf } from '../chains/tables.ts';
import { MODULUS, OPERATIONS, registerMachine } from './chains.ts';

/** probabilities[(operation * 7 + register) * 7 + next]; each row of 7 sums to 1. */
export type { ActorTable } from '../chains/tables.ts';

export const CELLS = OPERATIONS.length * MODULUS;

export const {
  baseTable,
  continueChain,
  exactValue,
  rightProbability,
  successRate,
  syntheticTable,
  tableForSuccess,
} = tablesOf(registerMachine);
