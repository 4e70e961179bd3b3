/** What table 6 is made of: critics after each stage, with the actor's profile and without. */
import { fileURLToPath } from 'node:url';
import type { EvaluationInput } from '../comparison/config.ts';
import { namedFiles } from '../comparison/named-files.ts';
import type { EvaluationResult } from '../comparison/result.ts';
import { actorOf, runOf, withActor } from './configs.ts';
import {
  baseActor,
  baseActorIn,
  imitation,
  pretraining,
  type Scorer,
  scorer,
} from './foundation.ts';
import { actorFrom, hotter, judgingOf, measuringOf } from './measuring.ts';
import type { Part, Work } from './parts.ts';
import { seedsOf } from './seeds.ts';
import { baseOf, type Named, type Setup } from './setup.ts';
import { type StrongActors, strongActorIn, strongActors, underActor } from './strong-actors.ts';
import { checkpointOf, measure, train, weightsOf } from './work.ts';

const uncalibrated = fileURLToPath(
  new URL('../../plugins/tasks/miniature/uncalibrated.ts', import.meta.url),
);

/** The critic before any training, in whose place the miniature has the oracle of stage 1. */
const zeroShot = (setup: Setup): EvaluationInput['critics'] =>
  setup.given
    ? {
        'zero-shot-with': scorer(setup, 'generative')!,
        'zero-shot-without': scorer(setup, 'generative-without-icc')!,
      }
    : {
        'uncalibrated-with': { use: uncalibrated, icc: true },
        'uncalibrated-without': { use: uncalibrated, icc: false },
      };

const kinds = { with: 'generative', without: 'generative-without-icc' } as const;
type Icc = keyof typeof kinds;

/** Stage 3 by the recipe, from the base actor and the critic of stage 2. */
function joint(setup: Setup, seed: number, kind: Scorer): Part {
  const { steps, icc } = setup.size;
  const [base, before] = [baseActor(setup, seed, steps), pretraining(setup, seed, steps, kind)];
  const run = runOf(setup, steps, seedsOf(seed).training, {
    ...{ stages: ['joint'], critic: scorer(setup, kind) },
    joint: { ...setup.recipe.joint, steps: icc, schedule: 'synchronous' },
    // Whatever the critic is worth is what the table is about.
    gates: { ...setup.recipe.gates, joint: null },
    checkpoints: { ...setup.recipe.checkpoints, best: false },
  });
  // References of continuations are dear, and no table reads a run's own.
  const config = setup.given ? { ...run, evaluation: { ...run.evaluation, every: 0 } } : run;
  return {
    ...{ name: `${kind}-joint`, seed, version: 2, after: [base, before] },
    options: withActor(setup, config),
    run: (work) =>
      train(work, {
        ...config,
        actor: actorOf(setup, baseActorIn(work, base)),
        start_from: checkpointOf(work.folderOf(before), 'critic-rl'),
      }),
  };
}

/** Actors, from the weakest to the strongest. */
export const actors: Readonly<Record<string, string>> = {
  'mild-temperature': 'weaker',
  none: 'current',
  'moderate-actor': 'stronger',
  'severe-actor': 'strong',
  joint: 'after joint',
};

export function stagesEvaluation(setup: Setup, seed: number): Part<EvaluationResult> {
  const { steps, prompts, bootstrap } = setup.size;
  const base = baseActor(setup, seed, steps);
  const stronger = strongActors(setup, seed, steps);
  const trained = trainedIn(setup, seed);
  const input = {
    ...measuringOf(setup, steps, seed),
    ...{ prompts, candidates: 0, bootstrap, icc_rollouts: 2 * prompts },
    ...judgingOf(setup),
  };
  const after = [base, ...Object.values(trained).flatMap((of) => Object.values(of))];
  return {
    ...{
      name: 'icc',
      seed,
      version: 3,
      options: [input, setup.size.continuations],
      after: [...after, stronger],
    },
    run: (work) =>
      measure(work, {
        ...input,
        actor: actorFrom(setup, baseActorIn(work, base)),
        critics: {
          ...zeroShot(setup),
          ...criticsOf(work, trained),
          ...(!setup.given && { oracle: 'oracle' }),
        },
        shifts: shiftsFor(setup, work, stronger, trained.with.joint),
      }),
  };
}

type Stages = Readonly<Record<'critic-sft' | 'critic-rl' | 'joint', Part>>;

/** The critic after each stage, with the actor's profile and without. */
function trainedIn(setup: Setup, seed: number): Readonly<Record<Icc, Stages>> {
  const { steps } = setup.size;
  const stages = (icc: Icc): Stages => ({
    'critic-sft': imitation(setup, seed, steps, kinds[icc]),
    'critic-rl': pretraining(setup, seed, steps, kinds[icc]),
    joint: joint(setup, seed, kinds[icc]),
  });
  return { with: stages('with'), without: stages('without') };
}

/** `sft-with`, `sft-without`, ... */
function criticsOf(work: Work, trained: ReturnType<typeof trainedIn>): EvaluationInput['critics'] {
  const names = { 'critic-sft': 'sft', 'critic-rl': 'rl', joint: 'joint' } as const;
  const all = (Object.keys(names) as (keyof Stages)[]).flatMap((stage) =>
    (['with', 'without'] as const).map((icc) => [
      `${names[stage]}-${icc}`,
      { from: checkpointOf(work.folderOf(trained[icc][stage]), stage) },
    ]),
  );
  return Object.fromEntries(all);
}

/** Changes of an evaluation for each of `actors`. */
const shiftsFor = (
  setup: Setup,
  work: Work,
  stronger: Part<StrongActors>,
  trained: Part,
): EvaluationInput['shifts'] => ({
  'mild-temperature': { sampling: { temperature: hotter(setup) } },
  'moderate-actor': strongActorIn(setup, work, stronger, 'stronger'),
  'severe-actor': strongActorIn(setup, work, stronger, 'strong'),
  joint: underActor(setup.size, weightsOf(work.folderOf(trained), 'joint', 'actor')),
});

/**
 * Problems of a large model's evaluation, each with its first state and one more: answers may cost
 * money.
 */
const LARGE_MODEL_PROBLEMS = 32;

/** A critic that nobody trains, such as a model behind an API, beside those of all stages. */
export function largeModelEvaluation(
  setup: Setup,
  seed: number,
  critic: Named,
): Part<EvaluationResult> {
  const { steps, prompts, bootstrap } = setup.size;
  const [base, stronger] = [baseActor(setup, seed, steps), strongActors(setup, seed, steps)];
  const trained = trainedIn(setup, seed);
  const { max_cost: _, ...asked } = critic; // what may be spent changes no answer
  const input: Omit<EvaluationInput, 'folder' | 'actor' | 'critics'> = {
    ...measuringOf(setup, steps, seed),
    ...{ prompts: Math.min(prompts, LARGE_MODEL_PROBLEMS), num_generations: 1 },
    ...{ states_per_response: 'one', candidates: 0, bootstrap, icc_rollouts: 2 * prompts },
    ...judgingOf(setup),
  };
  return {
    ...{ name: 'large-model', seed, version: 1 },
    after: [base, stronger, ...Object.values(trained).flatMap((of) => Object.values(of))],
    options: [input, setup.size.continuations, asked, namedFiles(asked, baseOf(setup))],
    run: (work) =>
      measure(work, {
        ...input,
        actor: actorFrom(setup, baseActorIn(work, base)),
        critics: {
          'large-model-with': { ...critic, icc: true },
          'large-model-without': { ...critic, icc: false },
          ...criticsOf(work, trained),
        },
        shifts: shiftsFor(setup, work, stronger, trained.with.joint),
      }),
  };
}
