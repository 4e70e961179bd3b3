import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { EvaluationResult } from '../../comparison/result.ts';
import { colours, type Plot } from '../../reports/report-plots.ts';
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
import { type Setup, withOptions } from '../setup.ts';
import { type Block, figuresOf, plain, type Table, valueIn } from '../table.ts';
import { checkpointOf, measure, weightsOf } from '../work.ts';

type Capacity = Setup['size']['capacities'][number];

interface Trained {
  readonly name: string;
  readonly part: Part;
  /** All parts whose training it took. */
  readonly trainedBy: readonly Part[];
}

const LONGER = 'longer-';
const sizeName = ([width, layers]: Capacity) => `${width}x${layers}`;

/** All operations of a chain: what one that has no words must do at once. */
const depthOf = ({ steps, operations = 1 }: Family) => steps * operations;

/** Critics of growing width and depth from random weights. */
function criticsOf(family: Family, seed: number): Trained[] {
  const { setup, steps } = family;
  const { capacities, otherHeads, longerHeads } = setup.size;
  const middle = capacities[1]!;
  const head = (kind: Head, capacity: Capacity, times = 1): Trained => {
    const pretraining = { ...setup.size.head, steps: times * setup.size.head.steps };
    const own = { ...setup, size: { ...setup.size, head: pretraining } };
    const part = headPretraining(own, seed, steps, kind, `task:blank-${sizeName(capacity)}`);
    const name = `${times === 1 ? '' : LONGER}${kind}-${sizeName(capacity)}`;
    return { name, part, trainedBy: [part] };
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
    ...(depthOf(family) <= longerHeads.depth ? capacities : [middle]).map((capacity) =>
      head('value-head', capacity, longerHeads.times),
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

interface Evaluated extends Measured {
  readonly family: Family;
}

const evaluatedOf = (setup: Setup, seed: number, results: Results): Evaluated[] =>
  depthsOf(setup).map((family) => ({
    family,
    ...results.resultOf(evaluation(family, seed)),
  }));

const figuresIn = ({ evaluation }: Measured) => evaluation.distributions.none!.critics;

/** What each critic explains of each task, by the operations that a chain of it has. */
function ladder(all: readonly Evaluated[]): Block {
  const names = [...new Set(all.flatMap((one) => Object.keys(figuresIn(one))))];
  return {
    ...{ title: 'explained variance by depth', digits: 3 },
    columns: all.map(({ family }) => family.title),
    rows: names.map((name) => ({
      name,
      cells: all.map((one) => figuresIn(one)[name]?.figures.explained_variance ?? null),
    })),
  };
}

function sizes(all: readonly Evaluated[]): Block {
  const names = [...new Set(all.flatMap(({ parameters }) => Object.keys(parameters)))];
  return {
    ...{ title: 'size and training', digits: 0 },
    columns: [
      ...all.map(({ family }) => `parameters (k), ${family.title}`),
      ...all.map(({ family }) => `seconds, ${family.title}`),
    ],
    rows: names.map((name) => ({
      name,
      cells: [
        ...all.map(({ parameters }) => plain(parameters[name]! / 1000)),
        ...all.map(({ seconds }) => plain(seconds[name])),
      ],
    })),
  };
}

/** Of the second size, which every task has of every critic. */
function plotOf(setup: Setup, all: readonly Evaluated[]): Plot {
  const size = sizeName(setup.size.capacities[1]!);
  const rows = [
    [`generative-${size}`, `generative-${size}`],
    [`value-head-${size}`, `value-head-${size}`],
    [`${LONGER}value-head-${size}`, `value-head-${size}, longer`],
    ['(state class)', 'best by state class'],
  ] as const;
  const chains = all.filter(
    ({ family }) => withOptions(family.setup.recipe.task).use === 'miniature',
  );
  return {
    title: 'What a critic explains, by depth',
    caption:
      'Explained variance of exact values, against operations of a chain (steps x operations).',
    ...{ x: 'operations of a chain', y: 'explained variance', share: false },
    series: rows.map(([name, label], i) => ({
      ...{ label, colour: colours[i]! },
      points: chains.flatMap((one) => {
        const figure = figuresIn(one)[name]?.figures.explained_variance;
        return figure ? [[depthOf(one.family), figure.value] as const] : [];
      }),
    })),
  };
}

/** Table 1: error against parameters and compute, on tasks of growing depth. */
export const expressiveness: Table = {
  number: 1,
  title: 'Expressiveness',
  paper:
    'value heads stop improving with size, and the generative critic improves; its values are ' +
    'more accurate.',
  ofMiniature: true,
  notes: ({ size: { longerHeads } }) => [
    'Every critic begins with random weights of the width and number of layers in its name; errors ' +
      'are on the base actor of the task in the title, against its exact values.',
    'Chains of K x b have K steps of b operations each, and name the register after each step; ' +
      'chains of K have one operation a step.',
    'Value heads learn from as many responses of that actor as stage 2 has, and those named ' +
      `\`longer\` from ${longerHeads.times} times as many; generative critics have stage 1 ` +
      'before it: seconds are of one core, with sampling and watching, while the other core ' +
      'worked too.',
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
    const all = evaluatedOf(setup, seed, results);
    return [
      ladder(all),
      ...all.map(
        (one): Block => ({
          ...{ title: `${one.family.title}: error`, digits: 3 },
          ...figuresOf(one.evaluation.distributions.none!, measures),
        }),
      ),
      sizes(all),
    ];
  },
  plots: (setup, seed, results) => [plotOf(setup, evaluatedOf(setup, seed, results))],
  verdict([explained]) {
    const found = explained!.columns.map((title, column) => {
      const of = (start: RegExp) =>
        explained!.rows
          .filter(({ name, cells }) => start.test(name) && cells[column] !== null)
          .map(({ name }) => valueIn(explained!, name, column));
      const [words, heads] = [of(/^generative-/), of(/^value-head-\d/)];
      const longer = of(new RegExp(`^${LONGER}`));
      // Where they have all sizes, heads with more training show what size does.
      return { title, words, heads, longer, rising: longer.length > 1 ? longer : heads };
    });
    const best = ({ heads, longer }: (typeof found)[number]) => Math.max(...heads, ...longer);
    const more = found.filter((one) => one.words.at(-1)! > best(one));
    // Below 0 nothing is explained, however much.
    const rise = (all: readonly number[]) => Math.max(0, all.at(-1)!) - Math.max(0, all[0]!);
    const grows = found.filter(({ words }) => rise(words) > 0.05);
    const stops = found.filter(({ rising }) => rise(rising) <= 0.05);
    const digits = (value: number) => value.toFixed(2).replace(/^-(0\.00)$/, '$1');
    const all = [more, grows, stops].every((some) => some.length === found.length);
    return {
      seen:
        `explained variance of the largest with words, and of the best head: ${found
          .map((one) => `${one.title} ${digits(one.words.at(-1)!)} and ${digits(best(one))}`)
          .join(', ')}; size helps words on ${grows.length} of ${found.length} tasks, ` +
        `heads on ${found.length - stops.length}`,
      agrees: all ? 'yes' : more.length === 0 ? 'no' : 'in part',
    };
  },
};
