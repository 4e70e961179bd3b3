import type { ConfigInput } from '../../config/schema.ts';
import { successAt } from '../curve.ts';
import { jointConfig, type Setting, startOf, trainBy } from '../methods.ts';
import type { Part } from '../parts.ts';
import { type Setup, twoSampled } from '../setup.ts';
import { measureSuccess, scoreOf, successOf, type Trained } from '../sweep.ts';
import { plain, type Table } from '../table.ts';

/** One change of the recipe at a time. */
interface Change {
  readonly critic?: Readonly<Record<string, unknown>>;
  readonly lambda?: number;
  /** Labelled steps in one segment. */
  readonly segment?: number;
  readonly joint?: Partial<NonNullable<ConfigInput['joint']>>;
}

const changes: Readonly<Record<string, Change>> = {
  'the recipe: lambda .5, a segment a step, two completions, leave-one-out, sampled': {},
  'lambda 0': { lambda: 0 },
  'lambda .9': { lambda: 0.9 },
  'lambda 1': { lambda: 1 },
  'two steps a segment': { segment: 2 },
  'one completion, batch mean': {
    critic: { completions_per_state: 1, baseline: 'batch-mean' },
  },
  'one completion, batch mean, expected score': {
    critic: { completions_per_state: 1, baseline: 'batch-mean', read: 'expected' },
  },
  'the same, thoughts carried on': {
    critic: {
      ...{ completions_per_state: 1, baseline: 'batch-mean' },
      ...{ read: 'expected', carry_until: 'left' },
    },
  },
  'four completions': { critic: { completions_per_state: 4 } },
  'no baseline': { critic: { baseline: 'none' } },
  'pipelined schedule': { joint: { schedule: 'pipelined' } },
  'frozen critic': { joint: { critic: 'frozen' } },
};

function run(setup: Setup, seed: number, name: string): Part<Omit<Trained, 'setting'> | null> {
  const { steps } = setup.size;
  const { critic, lambda = 0.5, segment = 1, joint } = changes[name]!;
  const start = startOf(setup, seed, steps, 'genac');
  const setting: Setting = { lambda, learning_rate: setup.recipe.actor!.learning_rate };
  const iterations = setup.size.open;
  const recipe = jointConfig(setup, seed, steps, 'genac', setting, { iterations });
  const { learning_rate: _, decay: __, min_lr_ratio: ___, ...frozen } = recipe.joint!;
  const config: Omit<ConfigInput, 'folder'> = {
    ...recipe,
    critic: { ...(recipe.critic as { readonly use: string }), ...twoSampled, ...critic },
    joint: { ...(joint?.critic === 'frozen' ? frozen : recipe.joint), ...joint },
    ...(segment > 1 && {
      credit: {
        ...recipe.credit,
        segmentation: {
          ...{ by: 'pattern', pattern: new Array(segment).fill('[a-l] \\d').join(' ') },
          ...{ max_segments: steps, min_tokens: 1 },
        },
      },
    }),
  };
  const input = successOf(setup, seed, steps);
  return {
    ...{ name: 'open', seed, version: 1, options: [config, input], after: start.after },
    async run(work) {
      const figures = await trainBy(work, start, config);
      return figures && { figures, success: await measureSuccess(setup, work, input) };
    },
  };
}

/** Table 7: what the paper leaves open, one change of the recipe at a time. */
export const open: Table = {
  number: 7,
  title: 'What the paper leaves open',
  paper:
    'it has no figures for lambda, segmentation, completions of a state, REINFORCE’s baseline, how ' +
    'a score is read, or the schedule.',
  ofMiniature: true,
  notes: () => [
    'GenAC with the recipe’s learning rate and one change in each row.',
    'Success at the end is measured on problems of a seed on which nothing was trained; the mean ' +
      'over the run and success at half of the actor tokens are of the run’s own evaluations.',
    'Tokens in all are those that the actor sampled and the critic wrote; seconds are of one core ' +
      'for both models while the other one worked too, so that a pipelined schedule gains nothing.',
  ],
  reason: 'it can’t be said, for the paper gives no figures',
  parts: (setup, seed) => Object.keys(changes).map((name) => run(setup, seed, name)),
  blocks(setup, seed, results) {
    const all = Object.keys(changes).map((name) => ({
      name,
      one: results.resultOf(run(setup, seed, name)),
    }));
    return [
      {
        ...{ title: `chains of ${setup.size.steps}: success of the actor`, digits: 3 },
        columns: ['at the end', 'half of the actor tokens', 'mean over the run'],
        rows: all.map(({ name, one }) => {
          if (one === null) return { name, cells: [null, null, null] };
          const { curve } = one.figures;
          const half = curve.at(-1)!.actor_tokens / 2;
          const cells = [plain(successAt(curve, 'actor_tokens', half)), plain(scoreOf(curve))];
          return { name, cells: [one.success, ...cells] };
        }),
      },
      {
        ...{ title: `chains of ${setup.size.steps}: cost`, digits: 0 },
        columns: ['tokens in all (k)', 'seconds'],
        rows: all.map(({ name, one }) => {
          const end = one?.figures.curve.at(-1);
          return {
            name,
            cells: [plain(end && end.all_tokens / 1000), plain(end?.seconds)],
          };
        }),
      },
    ];
  },
  verdict([success]) {
    const known = success!.rows.flatMap(({ name, cells }) =>
      cells[2] ? [{ name, mean: cells[2].value }] : [],
    );
    const [recipe, ...others] = known;
    if (!recipe || others.length === 0) return { seen: 'no run began', agrees: null };
    const sorted = [...others].sort((a, b) => b.mean - a.mean);
    const [best, worst] = [sorted[0]!, sorted.at(-1)!];
    return {
      seen:
        `a mean success over the run of ${recipe.mean.toFixed(2)} by the recipe, the best change ` +
        `${best.mean.toFixed(2)} (${best.name}), the worst ${worst.mean.toFixed(2)} (${worst.name})`,
      agrees: null,
    };
  },
};
