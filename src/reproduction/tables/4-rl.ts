import { mean } from '../../math/statistics.ts';
import { colours, type Plot } from '../../reports/report-plots.ts';
import { costOfHalf, successAt } from '../curve.ts';
import { type Family, familiesOf } from '../families.ts';
import { cheapest, methodKeys, methods, type Setting } from '../methods.ts';
import type { Results } from '../parts.ts';
import { tuningSeeds } from '../seeds.ts';
import type { Setup } from '../setup.ts';
import { settingOf, sweptBy, type Trained, trained, trials } from '../sweep.ts';
import { type Block, ONE_CORE, plain, type Row, type Table, valueIn } from '../table.ts';
import {
  gateBlock,
  pretrainingBlock,
  responsesBefore,
  responsesOfIteration,
} from './4-rl-beside.ts';

/** The least of what the runs used in all. */
const least = (all: readonly (Trained | null)[], of: 'all_tokens' | 'seconds') =>
  Math.min(...all.flatMap((one) => (one === null ? [] : [one.figures.curve.at(-1)![of]])));

function blocksOf(setup: Setup, family: Family, seed: number, results: Results): Block[] {
  const runs = methodKeys(setup).map((key) => ({
    name: methods[key].name as string,
    one: results.resultOf(trained(setup, family, seed, key)),
  }));
  const longer = results.resultOf(trained(setup, family, seed, cheapest, setup.size.longer));
  const all = runs.map(({ one }) => one);
  const [tokens, seconds] = [least(all, 'all_tokens'), least(all, 'seconds')];
  runs.push({ name: `${methods[cheapest].name}, ${setup.size.longer} times as long`, one: longer });
  const rows = (cells: (one: Trained) => Row['cells'], width: number): Row[] =>
    runs.map(({ name, one }) => ({
      name,
      cells: one === null ? new Array<null>(width).fill(null) : cells(one),
    }));
  return [
    {
      ...{ title: `${family.title}: success of the actor`, digits: 3 },
      columns: ['at the end', 'half of the actor tokens', 'equal tokens in all', 'equal seconds'],
      rows: rows(({ figures: { curve }, success }) => {
        const actor = curve.at(-1)!.actor_tokens;
        return [
          success,
          plain(successAt(curve, 'actor_tokens', actor / 2)),
          plain(successAt(curve, 'all_tokens', tokens)),
          plain(successAt(curve, 'seconds', seconds)),
        ];
      }, 4),
    },
    {
      ...{ title: `${family.title}: cost`, digits: 0 },
      columns: [
        ...['actor tokens (k)', 'tokens in all (k)', 'seconds'],
        ...['actor tokens (k) until .5', 'tokens in all (k) until .5', 'seconds until .5'],
      ],
      rows: rows(({ figures: { curve } }) => {
        const end = curve.at(-1)!;
        return [
          ...[plain(end.actor_tokens / 1000), plain(end.all_tokens / 1000), plain(end.seconds)],
          plain(costOfHalf(curve, 'actor_tokens') / 1000),
          plain(costOfHalf(curve, 'all_tokens') / 1000),
          plain(costOfHalf(curve, 'seconds')),
        ];
      }, 6),
    },
  ];
}

/** Every method's success at the end on every task, and their mean. */
function summaryOf(setup: Setup, seed: number, results: Results): Block {
  const families = familiesOf(setup);
  return {
    ...{ title: 'success at the end, at equal actor tokens', digits: 3 },
    columns: [...families.map(({ title }) => title), 'mean'],
    rows: methodKeys(setup).map((key) => {
      const own = families.map(
        (family) => results.resultOf(trained(setup, family, seed, key))?.success ?? null,
      );
      const all = own.every((one) => one !== null) ? mean(own.map((one) => one.value)) : undefined;
      const n = own.reduce((sum, one) => sum + (one?.n ?? 0), 0);
      return { name: methods[key].name, cells: [...own, plain(all, n)] };
    }),
  };
}

/** The sweep's scores; without one, the settings that an earlier sweep chose. */
function sweepOf(setup: Setup, results: Results): Block {
  const { settings, tuning } = setup.size;
  const nameOf = ({ lambda, learning_rate }: Setting) =>
    `${typeof lambda === 'number' ? lambda : JSON.stringify(lambda)}/${learning_rate}`;
  if (tuning === 0)
    return {
      title: setup.given
        ? 'settings, without a sweep'
        : 'settings, by the sweep of docs/results.md',
      digits: setup.given ? 7 : 5,
      columns: ['lambda', 'learning rate of the actor'],
      rows: methodKeys(setup).map((key) => {
        const { lambda, learning_rate } = settingOf(setup, key, results);
        const shown = typeof lambda === 'number' ? lambda : undefined;
        return { name: methods[key].name, cells: [plain(shown), plain(learning_rate)] };
      }),
    };
  return {
    ...{ title: 'the sweep: mean success over the evaluations of a run, by setting and seed' },
    digits: 3,
    columns: Array.from({ length: settings }, (_, i) =>
      tuningSeeds(tuning).map((_, s) => `${i + 1}, seed ${s + 1}`),
    ).flat(),
    rows: methodKeys(setup).map((key) => {
      const swept = sweptBy(setup, key, results);
      const words = swept.map(({ setting }) => nameOf(setting)).join(', ');
      const chosen = nameOf(settingOf(setup, key, results));
      return {
        name: `${methods[key].name} (lambda/rate ${words}; chosen ${chosen})`,
        cells: swept.flatMap(({ scores }) => scores.map((score) => plain(score))),
      };
    }),
  };
}

/** Held-out success as the actor's tokens grow; the upper bound is dashed. */
function plotOf(setup: Setup, family: Family, seed: number, results: Results): Plot {
  return {
    title: family.title,
    caption: 'Held-out success of the actor, the mean of the seeds, at each method’s own setting.',
    ...{ x: 'actor tokens (thousands)', y: 'success', share: true },
    series: methodKeys(setup).map((key, i) => {
      const curve = results.resultOf(trained(setup, family, seed, key))?.figures.curve ?? [];
      const bound = methods[key].name.startsWith('(');
      return {
        ...{ label: methods[key].name, colour: bound ? 'grey' : colours[i]!, dashed: bound },
        points: curve.map((point) => [point.actor_tokens / 1000, point.success] as const),
      };
    }),
  };
}

const ofSweep = ({ given }: Setup) => [
  'Each method has as many settings in its sweep, each trained on as many seeds of their own on ' +
    'the first task; the others take what was chosen there.',
  ...(given
    ? []
    : ['The size `hour` has no sweep of its own: it takes what that of docs/results.md chose.']),
  'The best mean success over the runs’ evaluations is chosen, of those settings that are on no ' +
    'seed worse than the recipe’s own, the first, by two standard errors.',
];

/** Table 4: RL by each method at its own best setting. */
export const rl: Table = {
  number: 4,
  title: 'RL with each method at its own best setting',
  paper:
    'GenAC has the highest average and is ahead of PPO, VinePPO and GRPO in most of six tasks.',
  notes: (setup) => [
    'Success at the end is measured at equal actor tokens, on problems of a seed on which nothing ' +
      'was trained or chosen; the other columns are read off the run’s own held-out evaluations.',
    'Tokens in all are those that the actor sampled, the critic wrote and continuations took; ' +
      'equal tokens and equal seconds are what the cheapest of the methods used in all.',
    ...(setup.given ? [] : [ONE_CORE]),
    'What stages 1 and 2 and a head’s pretraining take is in no budget, neither time nor ' +
      `responses: a head learns from ${responsesBefore(setup, 'ppo')} of the base actor’s, ` +
      `critics with words in stage 2 from ${responsesBefore(setup, 'genac')}, and joint training ` +
      'takes ' +
      `${setup.size.joint * responsesOfIteration(setup)}.`,
    ...(setup.given && setup.size.tuning === 0
      ? [
          'Without a sweep (`--size full`) each method has its first setting: the config’s learning ' +
            'rate, and the config’s lambda for critics that learn from traces, the literature’s for ' +
            'others.',
        ]
      : ofSweep(setup)),
    ...methodKeys(setup).map((key) => `${methods[key].name}: ${methods[key].recipe}.`),
  ],
  reason:
    'small tasks, few seeds, on which actors differ in how soon they learn, and settings that ' +
    'were chosen on one of the tasks by shorter runs',
  parts: (setup, seed) => [
    ...methodKeys(setup).flatMap((key) => trials(setup, key).flatMap(({ parts }) => parts)),
    ...familiesOf(setup).flatMap((family) => [
      ...methodKeys(setup).map((key) => trained(setup, family, seed, key)),
      trained(setup, family, seed, cheapest, setup.size.longer),
    ]),
  ],
  blocks: (setup, seed, results) => [
    summaryOf(setup, seed, results),
    pretrainingBlock(setup, seed, results),
    gateBlock(setup, seed, results),
    ...familiesOf(setup).flatMap((family) => blocksOf(setup, family, seed, results)),
    sweepOf(setup, results),
  ],
  plots: (setup, seed, results) =>
    familiesOf(setup).map((family) => plotOf(setup, family, seed, results)),
  verdict([summary]) {
    const columns = summary!.columns.map((_, column) => column);
    const [mean, tasks] = [columns.length - 1, columns.slice(0, -1)];
    const [own, ...others] = ['GenAC', 'PPO (value head)', 'VinePPO', 'GRPO'].map((row) => ({
      name: row.replace(/ .*/, ''),
      success: columns.map((column) => valueIn(summary!, row, column)),
    }));
    const ahead = others.map(({ name, success }) => ({
      name,
      inMean: own!.success[mean]! > success[mean]!,
      wins: tasks.filter((column) => own!.success[column]! > success[column]!).length,
    }));
    const words = [own!, ...others].map(
      ({ name, success }) => `${name} ${success[mean]!.toFixed(2)}`,
    );
    const best = ahead.every(({ inMean }) => inMean);
    const most = ahead.every(({ wins }) => 2 * wins > tasks.length);
    return {
      seen:
        `mean success at equal actor tokens: ${words.join(', ')}; GenAC is ahead of ` +
        `${ahead.map(({ name, wins }) => `${name} on ${wins}`).join(', of ')} of ` +
        `${tasks.length} tasks`,
      // The paper has six tasks.
      agrees:
        tasks.length === 1
          ? null
          : best && most && tasks.length >= 6
            ? 'yes'
            : best || most
              ? 'in part'
              : 'no',
    };
  },
};
