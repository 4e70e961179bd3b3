import type { EvaluationResult } from '../../comparison/result.ts';
import { againstContinuations, STRONGER } from '../given.ts';
import { actors, largeModelEvaluation, stagesEvaluation } from '../icc.ts';
import type { Setup } from '../setup.ts';
import { type Block, type Row, type Table, valueIn } from '../table.ts';

/** Rows of the user's own critic without training. */
const LARGE_MODEL = 'large-model';
const largeModelsOf = (setup: Setup, seed: number) =>
  setup.largeModel === undefined ? [] : [largeModelEvaluation(setup, seed, setup.largeModel)];

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
    ...(setup.largeModel === undefined
      ? []
      : ['The large model valued the first state and one more of fewer problems, untrained.']),
    'Without In-Context Conditioning a critic was trained and is asked without the actor’s profile.',
    'The last column is the actor that the critic with In-Context Conditioning trained jointly.',
  ],
  reason:
    'the actors of stages 1 and 2 are synthetic, and the base actor makes other errors than most ' +
    'of them',
  parts: (setup, seed) => [stagesEvaluation(setup, seed), ...largeModelsOf(setup, seed)],
  blocks(setup, seed, results) {
    const { distributions } = results.resultOf(stagesEvaluation(setup, seed));
    const columns = Object.keys(actors);
    const rowsOf = (all: EvaluationResult['distributions']): Row[] =>
      Object.keys(all.none!.critics).map((name) => ({
        name: name.replace(/-(with|without)$/, (_, icc) => ` ${icc} ICC`),
        cells: columns.map((one) => all[one]!.critics[name]!.figures.mse ?? null),
      }));
    const asked = largeModelsOf(setup, seed).map((part) => ({
      ...{ title: 'mean squared error on the states that the large model valued', digits: 3 },
      columns: Object.values(actors),
      rows: rowsOf(results.resultOf(part).distributions),
    }));
    const rows = rowsOf(distributions);
    const success = columns.map((one) => distributions[one]!.success_measured);
    return [
      {
        ...{ title: 'mean squared error', digits: 3, columns: Object.values(actors) },
        rows: [...rows, { name: 'success of the actor', cells: success }],
      },
      ...asked,
    ];
  },
  verdict([block, large]) {
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
    const [asked, beside] = [`${LARGE_MODEL} with ICC`, 'sft with ICC'].map((row) =>
      large === undefined ? '' : meanOfRow(large, row).toFixed(3),
    );
    const [zero, sft, rl] = [mean(first!.name), mean('sft with ICC'), mean('rl with ICC')];
    const stepwise = rl < sft && rl < zero;
    return {
      seen:
        `ICC lowers the error in ${lower} of ${pairs.length} cases; over the actors it is ` +
        `${zero.toFixed(3)} ${first!.name.replace(/ .*/, '')}, ${sft.toFixed(3)} after SFT, ` +
        `${rl.toFixed(3)} after RL and ${mean('joint with ICC').toFixed(3)} after joint training` +
        (large ? `; on fewer states the large model has ${asked}, SFT ${beside}` : ''),
      agrees: stepwise && lower > 0.8 * pairs.length ? 'yes' : stepwise ? 'in part' : 'no',
    };
  },
};

const meanOfRow = (block: Block, row: string): number =>
  block.columns.reduce((sum, _, column) => sum + valueIn(block, row, column), 0) /
  block.columns.length;
