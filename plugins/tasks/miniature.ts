/**
 * The embedded default: register chains (see `miniature/chains.ts`), small enough that the whole
 * method runs on two CPU cores in minutes, with exact values of every prefix.
 */
import { z } from 'zod';
import { defineTask, type Task } from '../../src/plugin-api.ts';
import { chainTask } from './chains/task.ts';
import { making } from './miniature/base-actor.ts';
import { problemsOf, registerMachineOf } from './miniature/chains.ts';

const fields = z.strictObject({
  /** Labelled steps K of a chain. */
  steps: z.int().min(2).max(12).default(8),
  /** Operations b of each step: its result is named after the last of them. */
  operations_per_step: z.literal([1, 2]).default(1),
  /** Registers are computed modulo this: 7 have 119 cells to learn, 11 have 319. */
  modulus: z.literal([7, 11]).default(7),
  /**
   * Signs of the operations in the problems, for an evaluation under shift. The task's models and
   * synthetic actors always have all of them.
   */
  operations: z
    .array(z.enum(['+', '*', '-']))
    .min(1)
    .default(['+', '*', '-']),
  /** Synthetic actors of stages 1 and 2. */
  actors: z.int().min(2).default(192),
  /**
   * `noisy`: the oracle is not calibrated to the actor. `exact`: it knows the value, an upper bound
   * for stage 1.
   */
  oracle: z.enum(['noisy', 'exact']).default('noisy'),
});

const options = fields.refine((o) => o.modulus === 7 || o.operations_per_step === 1, {
  path: ['operations_per_step'],
  message: 'two operations a step are computed modulo 7 alone; leave out modulus, or this',
});

export default defineTask({
  name: 'miniature',
  options,
  create({ steps, operations_per_step, modulus, operations, actors, oracle }): Task {
    const machine = registerMachineOf(modulus);
    const drawn = machine.operations.filter((one) =>
      operations.includes(one[0] as '+' | '*' | '-'),
    );
    return chainTask(machine, {
      ...{ steps, operationsPerStep: operations_per_step, operations: drawn, actors, oracle },
      ...{ word: modulus > 10 ? '\\d+' : '\\d', ...problemsOf(machine) },
      making: making(modulus, operations_per_step),
    });
  },
});
