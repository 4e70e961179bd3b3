/**
 * Two generators of reasoning-gym as chains: sums of one-digit terms (`chain_sum`) and least common
 * multiples (`lcm`). Problems and answers are its own; models as small as those of `miniature`
 * learn them, and exact values of every prefix are known.
 */
import { z } from 'zod';
import { defineTask, type Problem, type Task, UserError } from '../../src/plugin-api.ts';
import { chainTask } from './chains/task.ts';
import { problemsOf } from './gym-chains/gym-machine.ts';
import { multiplesMachine } from './gym-chains/multiples.ts';
import { sumsMachine } from './gym-chains/sums.ts';
import { gymOf, problemSeed } from './reasoning-gym/calls.ts';

const options = z.strictObject({
  /** As reasoning-gym calls it. */
  generator: z.enum(['chain_sum', 'lcm']).default('chain_sum'),
  /**
   * Steps K of a chain: a problem has one term or number more. With fewer than 4 there are few
   * problems, and held-out ones would be those of training.
   */
  steps: z.int().min(4).max(12).default(5),
  /** Synthetic actors of stages 1 and 2. */
  actors: z.int().min(2).default(192),
  /**
   * `noisy`: the oracle is not calibrated to the actor. `exact`: it knows the value, an upper bound
   * for stage 1.
   */
  oracle: z.enum(['noisy', 'exact']).default('noisy'),
});

const machines = { chain_sum: sumsMachine, lcm: multiplesMachine } as const;

const size = { width: 64, layers: 2, keyValueHeads: 1, mlp: 160 } as const;
const making = {
  blank: { ...size, heads: 2 },
  actor: { ...size, heads: 4 },
} as const;
/** Optimizer steps of the base actor. */
const demonstrations = { chain_sum: 1500, lcm: 600 } as const;

export default defineTask({
  name: 'gym-chains',
  options,
  usesPython: true,
  create({ generator, steps, actors, oracle }, { python, log }): Task {
    const machine = machines[generator](steps);
    const { problemOf, chainOf, chainIn, questionOf } = problemsOf(machine);
    const gym = gymOf(python, log);

    async function problemsOfSeeds(seeds: readonly number[], idOf: (i: number) => string) {
      const made = await gym.problems(seeds.map((seed) => ({ ...machine.generator, seed })));
      return made.map(({ question, answer }, i): Problem => {
        const chain = chainIn(question);
        const problem = chain && problemOf(chain, idOf(i));
        if (problem?.columns.answer !== answer)
          throw new UserError(
            `the task "gym-chains" can't read a question of reasoning-gym's ${generator}: ` +
              `${JSON.stringify(question)}. It knows those of reasoning-gym 0.1; install that`,
          );
        return problem!;
      });
    }

    return {
      ...chainTask(machine, {
        ...{ steps, operations: machine.operations },
        ...{ actors, oracle, word: '-?\\d+', problemOf, chainOf },
        making: { ...making, demonstrations: demonstrations[generator], promptOf: questionOf },
      }),
      async prepare() {
        await gym.check([machine.generator], 'task.generator');
        await problemsOfSeeds([0], () => 'first');
      },
      problems: (split, seed, from, count) =>
        problemsOfSeeds(
          Array.from({ length: count }, (_, i) => problemSeed(split, seed, from + i)),
          (i) => `${split}-${from + i}`,
        ),
    };
  },
});
