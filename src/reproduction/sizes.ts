/**
 * What a reproduction costs: `hour` about that on two cores with one seed. `full` has more tasks in
 * tables 1 and 4 and a sweep in table 4; each further seed costs the same again, apart from the
 * sweep. `tiny` goes through every table's code in minutes; its figures mean nothing.
 */
import type { ConfigInput } from '../config/schema.ts';

/** Tasks beside chains of the recipe's own length (`setup.ts`). */
export type FamilyName =
  | 'longer-chains'
  | 'wider-chains'
  | 'cups'
  | 'five-cups'
  | 'sums'
  | 'multiples';
/** Actors after RL (`strong-actors.ts`). */
export type Strength = 'stronger' | 'strong';

type Stage<K extends 'critic_sft' | 'critic_rl'> = NonNullable<ConfigInput[K]>;

export interface Size {
  readonly name: 'hour' | 'full' | 'tiny';
  /**
   * Labelled steps K of the chains of tables 2 to 7. The base actor solves .17 of any length: at 5
   * it errs at most of its steps, and a sweep mends nothing.
   */
  readonly steps: number;
  /** Share of its usual training that a base actor gets. */
  readonly effort: number;
  /** Further tasks of table 4, by the settings that were chosen on the first. */
  readonly families: readonly FamilyName[];
  /** K of the chains of other lengths in table 3, less and more far from training. */
  readonly shorter: readonly [number, number];
  /**
   * Of table 1: chains by their labelled steps K and the operations b of each, its further tasks,
   * and widths and numbers of layers of its models, rising.
   */
  readonly depths: readonly (readonly [steps: number, operations: number])[];
  readonly theory: readonly FamilyName[];
  readonly capacities: readonly (readonly [width: number, layers: number])[];
  /** Sizes of table 1's heads beside the scalar one, which has all: all too, or the second. */
  readonly otherHeads: 'all' | 'second';
  /**
   * Table 1 also has scalar heads with as many times the responses: in all sizes where a chain has
   * at most `depth` operations, and in the second where it has more.
   */
  readonly longerHeads: { readonly times: number; readonly depth: number };
  /** Changes of the recipe's sampling and of its stages 1 and 2; empty: as the recipe has them. */
  readonly sampling: NonNullable<ConfigInput['sampling']>;
  readonly sft: Stage<'critic_sft'>;
  readonly pretraining: Stage<'critic_rl'>;
  /** Steps of a value head's pretraining and responses of each: as many as the recipe's stage 2. */
  readonly head: { readonly steps: number; readonly responses: number };
  /**
   * Of RL with exact values: iterations, those between looks at the actor, and the success from
   * which on it is `stronger` and `strong`.
   */
  readonly strength: {
    readonly iterations: number;
    readonly every: number;
    readonly success: Readonly<Record<Strength, number>>;
  };
  /** Iterations of joint training, and of each setting of a sweep. */
  readonly joint: number;
  readonly sweep: number;
  /** Iterations of joint training in table 6, with and without In-Context Conditioning. */
  readonly icc: number;
  /** Settings of each method that the sweep tries, each on as many seeds; 0 seeds: no sweep. */
  readonly settings: number;
  readonly tuning: number;
  /** As many times the iterations for the cheapest method, for a comparison at equal time. */
  readonly longer: number;
  /** Iterations of each row of table 7. */
  readonly open: number;
  /** Iterations whose cost table 5 measures. */
  readonly cost: number;
  /** Iterations between held-out evaluations within a run. */
  readonly every: number;
  /** Held-out states within a run; absent: as many as its held-out problems. */
  readonly states?: number;
  /** Held-out problems of an evaluation, and responses to each that are ranked. */
  readonly prompts: number;
  readonly candidates: number;
  /** Of each state of a trained actor, as its reference value. */
  readonly continuations: number;
  /** Resamples for each interval. */
  readonly bootstrap: number;
}

const full: Size = {
  ...{ name: 'full', steps: 8, shorter: [5, 3], effort: 1 },
  families: ['longer-chains', 'cups', 'sums', 'multiples', 'wider-chains'],
  depths: [
    [2, 1],
    [3, 1],
    [5, 1],
    [3, 2],
    [8, 1],
  ],
  theory: ['five-cups'],
  capacities: [
    [32, 1],
    [64, 2],
    [128, 3],
  ],
  ...{ otherHeads: 'all', longerHeads: { times: 10, depth: 3 } },
  ...{ sampling: {}, sft: {}, pretraining: {}, head: { steps: 60, responses: 256 } },
  strength: { iterations: 80, every: 5, success: { stronger: 0.35, strong: 0.65 } },
  ...{ joint: 60, sweep: 24, icc: 30, every: 5 },
  ...{ settings: 4, tuning: 4, longer: 5, open: 24, cost: 4 },
  ...{ prompts: 128, candidates: 16, continuations: 32, bootstrap: 2000 },
};

export const sizes: Readonly<Record<Size['name'], Size>> = {
  full,
  hour: {
    ...{ ...full, name: 'hour', families: ['cups', 'multiples'] },
    depths: [
      [2, 1],
      [8, 1],
    ],
    ...{ theory: [], otherHeads: 'second', longerHeads: { times: 10, depth: 0 }, tuning: 0 },
  },
  tiny: {
    ...{ name: 'tiny', steps: 3, families: ['multiples'], shorter: [3, 3], effort: 0.05 },
    ...{ depths: [[2, 2]], theory: [] },
    capacities: [
      [32, 1],
      [64, 2],
    ],
    ...{ otherHeads: 'second', longerHeads: { times: 2, depth: 3 } },
    sampling: { batch_size: 4, num_generations: 4 },
    sft: { steps: 4, cooldown: 2, warmup: 1, batch: 16, evaluate_every: 6 },
    pretraining: { steps: 2, states: 16, evaluate_every: 2 },
    head: { steps: 2, responses: 16 },
    strength: { iterations: 2, every: 1, success: { stronger: 0, strong: 1 } },
    ...{ joint: 2, sweep: 1, icc: 1, every: 1 },
    ...{ settings: 2, tuning: 1, longer: 2, open: 1, cost: 1 },
    ...{ prompts: 12, candidates: 8, continuations: 4, bootstrap: 100 },
  },
};
