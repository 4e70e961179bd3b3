import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { EvaluationResult } from '../../comparison/result.ts';
import { readMetrics } from '../../run-folder/read.ts';
import { depthsOf, type Family } from '../families.ts';
import {
  baseActor,
  baseActorIn,
  type Head,
  headPretraining,
  imitation,
  pretraining,
} from '../foundation.ts';
import { actorFrom, judgingOf, measuringOf } from '../measuring.ts';
import type { Part, Results } from '../parts.ts';
import type { Setup } from '../setup.ts';
import { type Block, plain, type Table, valueIn } from '../table.ts';
import { checkpointOf, measure, weightsOf } from '../work.ts';

type Capacity = Setup['size']['capacities'][number];

interface Trained {
  readonly name: string;
  readonly part: Part;
  /** All parts whose training it took. */
  readonly trainedBy: readonly Part[];
}

const sizeName = ([width, layers]: Capacity) => `${width}x${layers}`;

/** Critics of growing width and depth from random weights. */
function criticsOf({ setup, steps }: Family, seed: number): Trained[] {
  const { capacities, otherHeads } = setup.size;
  const middle = capacities[1]!;
  const head = (kind: Head, capacity: Capacity): Trained => {
    const part = headPretraining(setup, seed, steps, kind, `task:blank-${sizeName(capacity)}`);
    return { name: `${kind}-${sizeName(capacity)}`, part, trainedBy: [part] };
  };
  const words = (capacity: Capacity): Trained => {
    // The recipe's own model has the middle size, and other tables have it trained.
    const model = capacity === middle ? undefined : `task:blank-${sizeName(capacity)}`;
    const [first, part] = [
      imitation(setup, seed, steps, 'generative', model),
      pretraining(setup, seed, steps, 'generative', model),
    ];
    return { name: `generative-${sizeName(capacity)}`, part, trainedBy: [first, part] };
  };
  return [
    ...capacities.map(words),
    ...capacities.map((capacity) => head('value-head', capacity)),
    ...(['value-head-hl-gauss', 'value-head-sparse'] as const).flatMap((kind) =>
      (otherHeads === 'all' ? capacities : [middle]).map((capacity) => head(kind, capacity)),
    ),
  ];
}

interface Measured {
  readonly evaluation: EvaluationResult;
  /** By critic. */
  readonly parameters: Readonly<Record<string, number>>;
  readonly seconds: Readonly<Record<string, number>>;
}

function evaluation(family: Family, seed: number): Part<Measured> {
  const { setup, steps } = family;
  const base = baseActor(setup, seed, steps);
  const critics = criticsOf(family, seed);
  const { prompts, bootstrap } = setup.size;
  const input = {
    ...measuringOf(setup, steps, seed),
    ...{ prompts, candidates: 0, bootstrap, icc_rollouts: 2 * prompts },
    ...judgingOf(setup),
  };
  return {
    ...{ name: 'expressiveness', seed, version: 2, options: input },
    after: [base, ...critics.map(({ part }) => part)],
    async run(work) {
      const result = await measure(work, {
        ...input,
        actor: actorFrom(setup, baseActorIn(work, base)),
        critics: {
          ...Object.fromEntries(
            critics.map(({ name, part }) => [
              name,
              { from: checkpointOf(work.folderOf(part), 'critic-rl') },
            ]),
          ),
          oracle: 'oracle',
        },
      });
      const of = (figure: (one: Trained) => number) =>
        Object.fromEntries(critics.map((one) => [one.name, figure(one)]));
      return {
        evaluation: result,
        parameters: of(({ part }) =>
          parametersIn(weightsOf(work.folderOf(part), 'critic-rl', 'critic')),
        ),
        seconds: of(({ trainedBy }) =>
          trainedBy.reduce((sum, part) => sum + secondsOf(work, part), 0),
        ),
      };
    },
  };
}

const secondsOf = (results: Results, part: Part): number =>
  readMetrics(join(results.folderOf(part), 'run')).at(-1)?.seconds ?? 0;

/** Of float32 weights in safetensors' format, without its header. */
function parametersIn(folder: string): number {
  const path = join(folder, 'model.safetensors');
  const length = Buffer.alloc(8);
  const file = openSync(path, 'r');
  readSync(file, length, 0, 8, 0);
  closeSync(file);
  return (statSync(path).size - 8 - Number(length.readBigUInt64LE())) / 4;
}

const measures = {
  mse: 'MSE',
  explained_variance: 'expl. var.',
  within_response: 'within response',
} as const;

/** Table 1: error against parameters and compute, on tasks of growing depth. */
export const expressiveness: Table = {
  number: 1,
  title: 'Expressiveness',
  paper:
    'value heads stop improving with size, and the generative critic improves; its values are ' +
    'more accurate.',
  ofMiniature: true,
  notes: () => [
    'Every critic begins with random weights of the width and number of layers in its name; errors ' +
      'are on the base actor of the task in the title, against its exact values.',
    'Value heads learn from as many responses of that actor as stage 2 has; generative critics ' +
      'have stage 1 before it, and so more training: seconds are of one core, with sampling and ' +
      'watching, while the other core worked too.',
    'Parameters are of the critic’s model, with its embeddings.',
    'Swaps of five cups are the word problem of S5, which is complete for NC1; their exact values ' +
      'are a little low, for what the actor writes less often than one time in a thousand is ' +
      'left out.',
  ],
  reason:
    'sizes here differ by a factor of some twenty and no more, and a small critic that fails may ' +
    'lack training as well as capacity',
  parts: (setup, seed) => depthsOf(setup).map((family) => evaluation(family, seed)),
  blocks(setup, seed, results) {
    const families = depthsOf(setup);
    const all = families.map((family) => ({
      title: family.title,
      one: results.resultOf(evaluation(family, seed)),
    }));
    const names = criticsOf(families[0]!, seed).map(({ name }) => name);
    return [
      ...all.map(({ title, one }): Block => {
        const { critics } = one.evaluation.distributions.none!;
        return {
          ...{ title: `${title}: error`, digits: 3 },
          columns: Object.values(measures),
          rows: Object.entries(critics).map(([name, { figures }]) => ({
            name,
            cells: Object.keys(measures).map((measure) => figures[measure] ?? null),
          })),
        };
      }),
      {
        ...{ title: 'size and training', digits: 0 },
        columns: [
          ...all.map((one) => `parameters (k), ${one.title}`),
          ...all.map((one) => `seconds, ${one.title}`),
        ],
        rows: names.map((name) => ({
          name,
          cells: [
            ...all.map(({ one }) => plain(one.parameters[name]! / 1000)),
            ...all.map(({ one }) => plain(one.seconds[name])),
          ],
        })),
      },
    ];
  },
  verdict(blocks) {
    const errors = blocks.slice(0, -1).map((block) => {
      const rowsOf = (kind: string) => block.rows.filter(({ name }) => name.startsWith(`${kind}-`));
      const [words, heads] = [rowsOf('generative'), rowsOf('value-head').filter(isScalar)];
      const explained = (rows: Block['rows']) => rows.map(({ name }) => valueIn(block, name, 1));
      return { title: block.title, words: explained(words), heads: explained(heads) };
    });
    const more = errors.filter(({ words, heads }) => words.at(-1)! > heads.at(-1)!);
    const grows = errors.filter(({ words }) => words.at(-1)! > words[0]! + 0.05);
    const stops = errors.filter(({ heads }) => heads.at(-1)! < heads[0]! + 0.05);
    const listed = (values: readonly number[]) =>
      [values[0]!, values.at(-1)!].map((one) => one.toFixed(2)).join(' to ');
    const all = [more, grows, stops].every((some) => some.length === errors.length);
    return {
      seen: `explained variance as size grows: ${errors
        .map(
          ({ title, words, heads }) =>
            `${title.replace(': error', '')}, generative ${listed(words)}, head ${listed(heads)}`,
        )
        .join('; ')}`,
      agrees: all ? 'yes' : more.length === 0 ? 'no' : 'in part',
    };
  },
};

const isScalar = ({ name }: Block['rows'][number]) => /^value-head-\d/.test(name);
