/** The law of seeds: what selects is never what a table reports. */
import { expect, it } from 'vitest';
import { inOrder, keyOf } from '../../src/reproduction/parts.ts';
import { setupOf } from '../../src/reproduction/read-setup.ts';
import { tables } from '../../src/reproduction/reproduce.ts';
import { MOST_SEEDS, seedsOf, tuningSeeds } from '../../src/reproduction/seeds.ts';
import { sizes } from '../../src/reproduction/sizes.ts';

/** All objects in plain data. */
function* objectsIn(value: unknown): Generator<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield value as Record<string, unknown>;
  for (const part of Object.values(value)) yield* objectsIn(part);
}

it('no two purposes have a seed in common', () => {
  const seeds = [0, 1, MOST_SEEDS - 1].map(seedsOf);
  const training = new Set(seeds.map((own) => own.training));
  const measuring = new Set(seeds.map((own) => own.measuring));
  expect(training.size + measuring.size).toBe(6);
  for (const seed of measuring) expect(training.has(seed)).toBe(false);
  for (const seed of tuningSeeds(4)) expect(training.has(seed) || measuring.has(seed)).toBe(false);
});

it.each(['hour', 'full', 'tiny'] as const)('all parts of the size %s keep to it', (name) => {
  const setup = setupOf(undefined, name);
  const parts = inOrder(tables.flatMap((table) => table.parts(setup, 1)));
  const tuning = tuningSeeds(sizes[name].tuning);
  let [runs, evaluations, sweeps] = [0, 0, 0];
  for (const part of parts)
    for (const options of objectsIn(part.options)) {
      // An evaluation whose figures a table reports.
      if ('bootstrap' in options) {
        evaluations++;
        expect([part.name, options.seed]).toEqual([part.name, seedsOf(1).measuring]);
      }
      if ('stages' in options) {
        const sweep = part.name.startsWith('sweep-');
        runs++;
        sweeps += sweep ? 1 : 0;
        // What is trained for the sweep alone is trained on its seeds.
        expect([part.name, options.seed]).toEqual([part.name, part.seed]);
        if (sweep) expect(tuning).toContain(options.seed);
        expect([seedsOf(1).training, ...tuning]).toContain(options.seed);
      }
    }
  expect(runs).toBeGreaterThan(20);
  expect(sweeps).toBe(8 * sizes[name].settings * sizes[name].tuning);
  expect(evaluations).toBeGreaterThan(5);
});

it('every method is tuned by as many settings, and a sweep costs the same for any number of seeds', () => {
  const setup = setupOf(undefined, 'full');
  const sweepsOf = (seeds: readonly number[]) =>
    inOrder(seeds.flatMap((seed) => tables.flatMap((table) => table.parts(setup, seed)))).filter(
      ({ name }) => name.startsWith('sweep-'),
    );
  const counts = new Map<string, number>();
  for (const { name } of sweepsOf([0])) counts.set(name, (counts.get(name) ?? 0) + 1);
  expect(new Set(counts.values())).toEqual(new Set([16]));
  expect(counts.size).toBe(8);
  expect(sweepsOf([0, 1, 2])).toHaveLength(128);
});

it('every part that trains or values an actor depends on how the recipe’s actor learns', () => {
  const { recipe, size } = setupOf(undefined, 'tiny');
  const keysOf = (one: typeof recipe) =>
    inOrder(tables.flatMap((table) => table.parts({ recipe: one, size }, 0)));
  const actor = { ...recipe.actor!, clip_high: 0.5 };
  const [before, after] = [keysOf(recipe), keysOf({ ...recipe, actor })];
  const kept = new Set(after.map(keyOf));
  const same = before.filter((part) => kept.has(keyOf(part)));
  expect(before.length).toBe(after.length);
  // Stage 1 and the making of models know no actor; reasoning-gym's chains have their own recipe.
  const others = same.filter(
    ({ name, options }) =>
      !/-sft$|^base-actor$/.test(name) && !JSON.stringify(options).includes('"gym-chains"'),
  );
  expect(others.map(({ name }) => name)).toEqual([]);
  expect(before.length - same.length).toBeGreaterThan(50);
});
