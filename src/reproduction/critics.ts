/** The evaluation of tables 2 and 3: all critics on the same states, without and under shift. */
import type { EvaluationInput } from '../comparison/config.ts';
import type { EvaluationResult } from '../comparison/result.ts';
import {
  baseActor,
  baseActorIn,
  type Head,
  headPretraining,
  heads,
  pretraining,
  taskOf,
  workersOf,
} from './foundation.ts';
import type { Part } from './parts.ts';
import { seedsOf } from './seeds.ts';
import type { Setup } from './setup.ts';
import { strongActorIn, strongActors } from './strong-actors.ts';
import { checkpointOf, measure } from './work.ts';

/** Distributions, from the least shift to the largest, and the words for each. */
export const shifts: Readonly<Record<string, string>> = {
  none: 'as in training',
  'mild-operations': 'sums and differences alone',
  'mild-temperature': 'a weaker actor: temperature 1.3',
  'moderate-actor': 'a stronger actor',
  'moderate-length': 'shorter chains',
  'severe-actor': 'a strong actor',
  'severe-length': 'much shorter chains',
  'severe-all': 'much shorter chains of sums and differences, at temperature 1.3',
};

/** Every critic after pretraining, on the base actor and under each shift. */
export function criticsEvaluation(setup: Setup, seed: number): Part<EvaluationResult> {
  const { size, recipe } = setup;
  const { steps, prompts, candidates, bootstrap } = size;
  const [base, words, silent] = [
    baseActor(setup, seed, steps),
    pretraining(setup, seed, steps, 'generative'),
    pretraining(setup, seed, steps, 'language-model'),
  ];
  const stronger = strongActors(setup, seed, steps);
  const ofHeads = Object.keys(heads).map(
    (kind) => [kind, headPretraining(setup, seed, steps, kind as Head)] as const,
  );
  const { max_new_tokens, temperature } = recipe.sampling;
  const input = {
    ...{ seed: seedsOf(seed).measuring, task: taskOf(setup, steps), workers: workersOf(setup) },
    ...{ prompts, candidates, bootstrap, icc_rollouts: 2 * prompts },
    sampling: { max_new_tokens, temperature },
  };
  // An actor of another length would write as many steps as it always did.
  const [shorter, shortest] = size.shorter.map((k) => ({
    task: taskOf(setup, k),
    base: baseActor(setup, seed, k),
  }));
  const sums = { operations: ['+', '-'] };
  return {
    ...{ name: 'critics', seed, version: 3, options: [input, size.continuations] },
    after: [
      ...[base, words, silent, ...ofHeads.map(([, part]) => part), stronger],
      ...[shorter!.base, shortest!.base],
    ],
    run: (work) => {
      const ofLength = ({ task, base: own }: typeof shorter & object) => ({
        ...{ task, actor: { model: baseActorIn(work, own) } },
      });
      const from = checkpointOf(work.folderOf(words), 'critic-rl');
      const expected = { read: 'expected', completions_per_state: 1, baseline: 'none' };
      const changed: EvaluationInput['shifts'] = {
        'mild-operations': { task: { ...input.task, ...sums } },
        'mild-temperature': { sampling: { temperature: 1.3 } },
        'moderate-actor': strongActorIn(setup, work, stronger, 'stronger'),
        'moderate-length': ofLength(shorter!),
        'severe-actor': strongActorIn(setup, work, stronger, 'strong'),
        'severe-length': ofLength(shortest!),
        'severe-all': {
          ...ofLength(shortest!),
          ...{ task: { ...shortest!.task, ...sums }, sampling: { temperature: 1.3 } },
        },
      };
      return measure(work, {
        ...input,
        actor: { model: baseActorIn(work, base), worker: 'worker' },
        critics: {
          generative: { from },
          'generative-expected': { from, ...expected },
          'language-model': { from: checkpointOf(work.folderOf(silent), 'critic-rl') },
          ...Object.fromEntries(
            ofHeads.map(([kind, part]) => [
              kind,
              { from: checkpointOf(work.folderOf(part), 'critic-rl') },
            ]),
          ),
          'monte-carlo-9': { use: 'monte-carlo', continuations: 9 },
          'group-mean': 'group-mean',
          oracle: 'oracle',
        },
        shifts: Object.fromEntries(
          Object.entries(changed).map(([name, one]) => [name, { candidates: 0, ...one }]),
        ),
      });
    },
  };
}
