/** The evaluation of tables 2 and 3: all critics on the same states, without and under shift. */
import type { EvaluationInput } from '../comparison/config.ts';
import { namedFiles } from '../comparison/named-files.ts';
import type { EvaluationResult } from '../comparison/result.ts';
import { taskOf } from './configs.ts';
import {
  baseActor,
  baseActorIn,
  type Head,
  headPretraining,
  heads,
  pretraining,
} from './foundation.ts';
import { shiftsOfActors } from './given.ts';
import { actorFrom, groupOf, hotter, judgingOf, measuringOf } from './measuring.ts';
import type { Part } from './parts.ts';
import type { Given, Setup } from './setup.ts';
import { strongActorIn, strongActors } from './strong-actors.ts';
import { checkpointOf, measure } from './work.ts';

/** Distributions, from the least shift to the largest, and the words for each. */
const ofChains: Readonly<Record<string, string>> = {
  none: 'as in training',
  'mild-operations': 'sums and differences alone',
  'mild-temperature': 'a weaker actor: temperature 1.3',
  'moderate-actor': 'a stronger actor',
  'moderate-length': 'shorter chains',
  'severe-actor': 'a strong actor',
  'severe-length': 'much shorter chains',
  'severe-all': 'much shorter chains of sums and differences, at temperature 1.3',
};

/** Those of the recipe's task. */
export function shiftsOf(setup: Setup): Readonly<Record<string, string>> {
  const { given } = setup;
  return given === undefined
    ? ofChains
    : {
        ...Object.fromEntries(shiftsOfActors.map((name) => [name, ofChains[name]!])),
        'mild-temperature': `the actor at temperature ${hotter(setup)}`,
        ...Object.fromEntries(Object.keys(given.shifts).map((name) => [name, 'another task'])),
      };
}

const shiftFiles = ({ base, shifts }: Given) => namedFiles(shifts, base);

/** Every critic after pretraining, on the base actor and under each shift. */
export function criticsEvaluation(setup: Setup, seed: number): Part<EvaluationResult> {
  const { size, given } = setup;
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
  const input = {
    ...measuringOf(setup, steps, seed),
    ...{ prompts, candidates, bootstrap, icc_rollouts: 2 * prompts },
    ...{ num_generations: 2, group_size: Math.max(2, groupOf(setup)) },
    ...judgingOf(setup),
  };
  // An actor of another length would write as many steps as it always did.
  const others = size.shorter.map((k) => ({
    task: taskOf(setup, k),
    base: baseActor(setup, seed, k),
  }));
  const [shorter, shortest] = others;
  const sums = { operations: ['+', '-'] };
  return {
    ...{ name: 'critics', seed, version: 3 },
    options: [input, size.continuations, ...(given ? [given.shifts, shiftFiles(given)] : [])],
    after: [
      ...[base, words, silent, ...ofHeads.map(([, part]) => part), stronger],
      ...(given ? [] : others.map((other) => other.base)),
    ],
    run: (work) => {
      const ofLength = ({ task, base: own }: (typeof others)[number]) => ({
        ...{ task, actor: { model: baseActorIn(work, own) } },
      });
      const from = checkpointOf(work.folderOf(words), 'critic-rl');
      const expected = { read: 'expected', completions_per_state: 1, baseline: 'none' };
      const ofActor = {
        'mild-temperature': { sampling: { temperature: hotter(setup) } },
        'moderate-actor': strongActorIn(setup, work, stronger, 'stronger'),
        'severe-actor': strongActorIn(setup, work, stronger, 'strong'),
      };
      const ofTask = (): EvaluationInput['shifts'] => ({
        'mild-operations': { task: { ...input.task, ...sums } },
        'moderate-length': ofLength(shorter!),
        'severe-length': ofLength(shortest!),
        'severe-all': {
          ...ofLength(shortest!),
          ...{ task: { ...shortest!.task, ...sums }, sampling: { temperature: 1.3 } },
        },
      });
      const known = Object.entries(given?.shifts ?? {}).map(([name, task]) => [name, { task }]);
      const changed = { ...ofActor, ...(given ? Object.fromEntries(known) : ofTask()) };
      const names = Object.keys(shiftsOf(setup)).filter((name) => name !== 'none');
      return measure(work, {
        ...input,
        actor: actorFrom(setup, baseActorIn(work, base)),
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
          ...(!given && { oracle: 'oracle' }),
        },
        shifts: Object.fromEntries(
          names.map((name) => [name, { candidates: 0, ...changed[name] }]),
        ),
      });
    },
  };
}
