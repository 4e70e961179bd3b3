/**
 * Two generators of reasoning-gym as chains: sums of one-digit terms (`chain_sum`) and least common
 * multiples (`lcm`). Problems and verifiers are its own; models as small as those of `miniature`
 * learn them, and exact values of every prefix are known.
 */
import { z } from 'zod';
import { defineTask, type Problem, type Task } from '../../src/plugin-api.ts';
import { chainsOf, type Machine } from './chains/machine.ts';
import { chainTask } from './chains/task.ts';
import { problemsOf } from './gym-chains/gym-machine.ts';
import { multiplesMachine } from './gym-chains/multiples.ts';
import { sumsMachine } from './gym-chains/sums.ts';
import { gymOf, type Item, problemSeed } from './reasoning-gym/calls.ts';

const options = z.strictObject({
  /** As reasoning-gym calls it. */
  generator: z.enum(['chain_sum', 'lcm']).default('chain_sum'),
  /** Steps K of a chain: a problem has one term or number more. */
  steps: z.int().min(2).max(12).default(5),
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
    const { parseClaims, chainReward } = chainsOf(machine as Machine);
    const gym = gymOf(python, log);
    const itemOf = ({ columns }: Problem): Item => ({
      ...machine.generator,
      seed: columns.seed as number,
    });
    return {
      ...chainTask(machine, {
        ...{ steps, operations: machine.operations },
        ...{ actors, oracle, word: '-?\\d+', problemOf, chainOf },
        making: { ...making, demonstrations: demonstrations[generator], promptOf: questionOf },
      }),
      prepare: () => gym.check([machine.generator], 'task.generator'),
      async problems(split, seed, from, count) {
        const seeds = Array.from({ length: count }, (_, i) => problemSeed(split, seed, from + i));
        const made = await gym.problems(seeds.map((one) => ({ ...machine.generator, seed: one })));
        return made.map(({ question }, i) => {
          const chain = chainIn(question);
          if (chain === null)
            throw new Error(`reasoning-gym asks in other words than expected: ${question}`);
          const problem = problemOf(chain, `${split}-${from + i}`);
          return { ...problem, columns: { ...problem.columns, seed: seeds[i]! } };
        });
      },
      /** 1 for a whole response whose last claim the generator's verifier takes for right, else 0. */
      async reward({ text, problem }) {
        const chain = chainOf(problem);
        const claims = parseClaims(text);
        if (claims.length !== steps || !text.endsWith(' .')) return 0;
        const answer = machine.states[claims.at(-1)!]!;
        const verified = (await gym.score({ ...itemOf(problem), answer })) >= 1;
        return verified ? chainReward(text, chain) : 0;
      },
    };
  },
});
