import { fileURLToPath } from 'node:url';
import type { EvaluationInput } from '../../comparison/config.ts';
import type { EvaluationResult } from '../../comparison/result.ts';
import { actorOf, runOf, withActor } from '../configs.ts';
import {
  baseActor,
  baseActorIn,
  imitation,
  pretraining,
  type Scorer,
  scorer,
} from '../foundation.ts';
import { againstContinuations, STRONGER } from '../given.ts';
import { actorFrom, judgingOf, measuringOf } from '../measuring.ts';
import type { Part } from '../parts.ts';
import { seedsOf } from '../seeds.ts';
import type { Setup } from '../setup.ts';
import { strongActorIn, strongActors, underActor } from '../strong-actors.ts';
import { type Block, type Table, valueIn } from '../table.ts';
import { checkpointOf, measure, train, weightsOf } from '../work.ts';

const uncalibrated = fileURLToPath(
  new URL('../../../plugins/tasks/miniature/uncalibrated.ts', import.meta.url),
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
const actors: Readonly<Record<string, string>> = {
  'mild-temperature': 'weaker',
  none: 'current',
  'moderate-actor': 'stronger',
  'severe-actor': 'strong',
  joint: 'after joint',
};

function evaluation(setup: Setup, seed: number): Part<EvaluationResult> {
  const { steps, prompts, bootstrap } = setup.size;
  const base = baseActor(setup, seed, steps);
  const stronger = strongActors(setup, seed, steps);
  const stages = (icc: Icc) => ({
    'critic-sft': imitation(setup, seed, steps, kinds[icc]),
    'critic-rl': pretraining(setup, seed, steps, kinds[icc]),
    joint: joint(setup, seed, kinds[icc]),
  });
  const trained = { with: stages('with'), without: stages('without') };
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
    run: (work) => {
      const ofStage = (icc: Icc, stage: 'critic-sft' | 'critic-rl' | 'joint') => ({
        from: checkpointOf(work.folderOf(trained[icc][stage]), stage),
      });
      return measure(work, {
        ...input,
        actor: actorFrom(setup, baseActorIn(work, base)),
        critics: {
          ...zeroShot(setup),
          'sft-with': ofStage('with', 'critic-sft'),
          'sft-without': ofStage('without', 'critic-sft'),
          'rl-with': ofStage('with', 'critic-rl'),
          'rl-without': ofStage('without', 'critic-rl'),
          'joint-with': ofStage('with', 'joint'),
          'joint-without': ofStage('without', 'joint'),
          ...(!setup.given && { oracle: 'oracle' }),
        },
        shifts: {
          'mild-temperature': { sampling: { temperature: 1.3 } },
          'moderate-actor': strongActorIn(setup, work, stronger, 'stronger'),
          'severe-actor': strongActorIn(setup, work, stronger, 'strong'),
          joint: underActor(
            setup.size,
            weightsOf(work.folderOf(trained.with.joint), 'joint', 'actor'),
          ),
        },
      });
    },
  };
}

const ofMiniature = [
  'Errors are mean squared errors against the values of the actor in the column: exact ones, and ' +
    'of the actors that were trained by RL means of continuations, whose variance is subtracted.',
  'In the place of a large model without training stands the oracle of stage 1, which reasons ' +
    'rightly and is not calibrated to the actor.',
  'The current actor is the base actor, on whose rollouts stage 2 is a quarter; the stronger ones ' +
    'learned from exact values.',
];

/** Table 6: what In-Context Conditioning and each stage of training take off the error. */
export const icc: Table = {
  number: 6,
  title: 'In-Context Conditioning by stage',
  paper:
    'In-Context Conditioning lowers the error at every stage; the critic after RL has the least, ' +
    'and a large model without training is about as good as SFT.',
  notes: (setup) => [
    ...(setup.given
      ? [
          ...againstContinuations(setup),
          'Zero-shot is the critic’s own model before any training.',
          STRONGER,
        ]
      : ofMiniature),
    'Without In-Context Conditioning a critic was trained and is asked without the actor’s profile.',
    'The last column is the actor that the critic with In-Context Conditioning trained jointly.',
  ],
  reason:
    'the actors of stages 1 and 2 are synthetic, and the base actor makes other errors than most ' +
    'of them',
  parts: (setup, seed) => [evaluation(setup, seed)],
  blocks(setup, seed, results) {
    const { distributions } = results.resultOf(evaluation(setup, seed));
    const columns = Object.keys(actors);
    const rows = Object.keys(distributions.none!.critics).map((name) => ({
      name: name.replace(/-(with|without)$/, (_, icc) => ` ${icc} ICC`),
      cells: columns.map((one) => distributions[one]!.critics[name]!.figures.mse ?? null),
    }));
    const success = columns.map((one) => distributions[one]!.success_measured);
    return [
      {
        ...{ title: 'mean squared error', digits: 3, columns: Object.values(actors) },
        rows: [...rows, { name: 'success of the actor', cells: success }],
      },
    ];
  },
  verdict([block]) {
    const stages = ['sft', 'rl', 'joint'];
    const pairs = stages.flatMap((stage) =>
      block!.columns.map((_, column) => ({
        with: valueIn(block!, `${stage} with ICC`, column),
        without: valueIn(block!, `${stage} without ICC`, column),
      })),
    );
    const lower = pairs.filter((pair) => pair.with < pair.without).length;
    const mean = (row: string) => meanOfRow(block!, row);
    const [first] = block!.rows;
    const [zero, sft, rl] = [mean(first!.name), mean('sft with ICC'), mean('rl with ICC')];
    const stepwise = rl < sft && rl < zero;
    return {
      seen:
        `ICC lowers the error in ${lower} of ${pairs.length} cases; over the actors it is ` +
        `${zero.toFixed(3)} ${first!.name.replace(/ .*/, '')}, ${sft.toFixed(3)} after SFT, ${rl.toFixed(3)} after RL ` +
        `and ${mean('joint with ICC').toFixed(3)} after joint training`,
      agrees: stepwise && lower > 0.8 * pairs.length ? 'yes' : stepwise ? 'in part' : 'no',
    };
  },
};

const meanOfRow = (block: Block, row: string): number =>
  block.columns.reduce((sum, _, column) => sum + valueIn(block, row, column), 0) /
  block.columns.length;
