/** Actors as tables: p(next register | register, operation). */
import { tablesOf } from '../chains/tables.ts';
import { registerMachine } from './chains.ts';

export const {
  baseTable,
  continueChain,
  exactValue,
  rightProbability,
  successRate,
  syntheticTable,
  tableForSuccess,
} = tablesOf(registerMachine);
