/**
 * The one law of seeds: states that select a checkpoint or a setting are never those that a table
 * reports. All problems, actors and draws depend on a seed, so that apart seeds are apart states.
 *
 * - `training`: models learn on it, and a run's own held-out evaluations, which may select a
 *   checkpoint, are of it.
 * - `tuning`: every setting of a sweep is trained and compared on it; no table reports it.
 * - `measuring`: tables are measured on it, and nothing learns or is selected on it.
 */

/** Largest number of seeds in one reproduction; the ranges below do not overlap. */
export const MOST_SEEDS = 100_000;

export interface Seeds {
  readonly training: number;
  readonly measuring: number;
}

/** @param seed of the reproduction, 0 or more, below `MOST_SEEDS` */
export const seedsOf = (seed: number): Seeds => ({
  training: seed,
  measuring: MOST_SEEDS + seed,
});

/**
 * Those of every sweep, for all seeds of a reproduction, so that a sweep costs the same for one
 * seed as for many. None is left out: base actors differ in how soon they learn, and a learning
 * rate that is best on one that learns soon can spoil one that learns late.
 *
 * @param count 1 or more
 */
export const tuningSeeds = (count: number): readonly number[] =>
  Array.from({ length: count }, (_, i) => 2 * MOST_SEEDS + i);
