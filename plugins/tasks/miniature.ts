/**
 * The embedded default: register chains (see `miniature/chains.ts`), small enough that the whole
 * method runs on two CPU cores in minutes, with exact values of every prefix.
 */
import { z } from 'zod';
import { defineTask, type Task } from '../../src/plugin-api.ts';
import { chainTask } from './chains/task.ts';
import { making } from './miniature/base-actor.ts';
import { chainOf, chainProblem, OPERATIONS, registerMachine } from './miniature/chains.ts';

const options = z.strictObject({
  /** Labelled steps K of a chain. */
  steps: z.int().min(2).max(12).default(8),
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

export default defineTask({
  name: 'miniature',
  options,
  create({ steps, operations, actors, oracle }): Task {
    const drawn = OPERATIONS.filter((one) => operations.includes(one[0] as '+' | '*' | '-'));
    return chainTask(registerMachine, {
      ...{ steps, operations: drawn, actors, oracle, word: '\\d' },
      ...{ problemOf: chainProblem, chainOf, making },
    });
  },
});
