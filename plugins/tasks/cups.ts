/**
 * Cups: chains of swaps of n cups, by default the word problem of S5 (see `cups/cups.ts`). As small
 * as `miniature`, with ten times as many cells to learn and with a theory that says why a critic
 * must reason.
 */
import { z } from 'zod';
import { defineTask, type Task } from '../../src/plugin-api.ts';
import { chainTask } from './chains/task.ts';
import { cupsMachine, problemsOf } from './cups/cups.ts';

const options = z.strictObject({
  /** Cups, each with a ball: 5 have 120 arrangements and 10 swaps, 4 have 24 and 6. */
  cups: z.int().min(4).max(5).default(5),
  /** Labelled steps K of a chain. */
  steps: z.int().min(2).max(12).default(8),
  /** Synthetic actors of stages 1 and 2. */
  actors: z.int().min(2).default(192),
  /**
   * `noisy`: the oracle is not calibrated to the actor. `exact`: it knows the value, an upper bound
   * for stage 1.
   */
  oracle: z.enum(['noisy', 'exact']).default('noisy'),
});

const size = { width: 64, layers: 2, keyValueHeads: 1, mlp: 160 } as const;

/**
 * The critic has two wide heads, since four narrow ones compare 120 words only after twice as many
 * steps. The actor, which compares nothing, learns faster with four.
 */
const making = {
  blank: { ...size, heads: 2 },
  actor: { ...size, heads: 4 },
} as const;

/** Optimizer steps of the base actor, by the number of cups: 144 or 1200 cells to learn. */
const demonstrations: Readonly<Record<number, number>> = { 4: 400, 5: 1200 };

export default defineTask({
  name: 'cups',
  options,
  create({ cups, steps, actors, oracle }): Task {
    const machine = cupsMachine(cups);
    const { problemOf, chainOf } = problemsOf(machine);
    return chainTask(machine, {
      ...{ steps, operations: machine.operations, actors, oracle, word: `\\d{${cups}}` },
      ...{ problemOf, chainOf, making: { ...making, demonstrations: demonstrations[cups]! } },
    });
  },
});
