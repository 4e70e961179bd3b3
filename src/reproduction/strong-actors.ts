/** Stronger actors than the base actor, for tables 3 and 6. */
import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { nameWithin } from '../run-folder/checkpoint.ts';
import { actorOf, runOf, withActor } from './configs.ts';
import { baseActor, baseActorIn } from './foundation.ts';
import type { Part, Results } from './parts.ts';
import { seedsOf } from './seeds.ts';
import type { Setup } from './setup.ts';
import type { Strength } from './sizes.ts';
import { type CurvePoint, checkpointOf, train } from './work.ts';

/** After so many iterations each; with the success that the run's own evaluation found. */
export type StrongActors = Readonly<Record<Strength, Pick<CurvePoint, 'iteration' | 'success'>>>;

/**
 * One run from the base actor with exact values as its critic. Seeds differ in how soon an actor
 * learns, so an actor of a strength is the first whose success is large enough, the last if none's
 * is.
 */
export function strongActors(setup: Setup, seed: number, steps: number): Part<StrongActors> {
  const base = baseActor(setup, seed, steps);
  const { iterations, every, success } = setup.size.strength;
  const { recipe } = setup;
  const config = runOf(setup, steps, seedsOf(seed).training, {
    ...{ stages: ['joint'], critic: { use: setup.given ? 'group-mean' : 'oracle' } },
    ...(setup.given && { credit: { ...recipe.credit, lambda: 1, scale: 'group-std' } }),
    joint: { steps: iterations, schedule: 'synchronous' },
    gates: { joint: null, explained_variance: false },
    evaluation: { ...recipe.evaluation, every, prompts: 2 * setup.size.prompts, states: 8 },
    checkpoints: { every, minutes: null, keep: iterations, best: false },
  });
  return {
    ...{ name: 'strong-actors', seed, version: 2, after: [base] },
    options: [withActor(setup, config), success],
    async run(work) {
      const actor = actorOf(setup, baseActorIn(work, base));
      const figures = await train(work, { ...config, actor }, 'all');
      const { curve } = figures!;
      const found = strengthsIn(curve, setup.given ? rises(curve) : success);
      const chosen = Object.values(found).map((one) => nameOf(one.iteration, iterations));
      if (work.lean) await dropOthers(join(work.folder, 'run', 'checkpoints'), chosen);
      return found;
    },
  };
}

const nameOf = (iteration: number, last: number): string =>
  iteration === last ? 'joint' : nameWithin('joint', iteration);

async function dropOthers(folder: string, kept: readonly string[]): Promise<void> {
  for (const name of readdirSync(folder).filter((one) => !kept.includes(one)))
    await rm(join(folder, name), { recursive: true });
}

/** @param curve evaluations of one run, in order; the base actor's, the first, is never taken */
export function strengthsIn(
  curve: readonly CurvePoint[],
  least: Readonly<Record<Strength, number>>,
): StrongActors {
  const later = curve.filter(({ iteration }) => iteration > 0);
  const find = (from: number) => {
    const { iteration, success } = later.find((point) => point.success >= from) ?? later.at(-1)!;
    return { iteration, success };
  };
  return { stronger: find(least.stronger), strong: find(least.strong) };
}

/** Half of the rise from the start to the best success of a run, and all of it. */
export function rises(curve: readonly CurvePoint[]): Record<Strength, number> {
  const [{ success: start }, ...later] = curve as [CurvePoint, ...CurvePoint[]];
  const best = Math.max(...later.map(({ success }) => success));
  return { stronger: (start + best) / 2, strong: best };
}

/** The folder of its weights. */
function weightsIn(results: Results, part: Part<StrongActors>, strength: Strength, last: number) {
  const { iteration } = results.resultOf(part)[strength];
  return join(checkpointOf(results.folderOf(part), nameOf(iteration, last)), 'actor');
}

/** Changes of an evaluation for one of them (`underActor`). */
export const strongActorIn = (
  { size }: Setup,
  results: Results,
  part: Part<StrongActors>,
  strength: Strength,
) => underActor(size, weightsIn(results, part, strength, size.strength.iterations));

/**
 * Changes of an evaluation for an actor that a run trained. Its reference values are means of
 * continuations, so that the exact values are held against something else than themselves.
 */
export const underActor = ({ continuations }: Setup['size'], model: string) => ({
  ...{ actor: { model }, references: 'continuations', continuations },
});
