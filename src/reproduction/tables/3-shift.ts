import { criticsEvaluation, shiftsOf } from '../critics.ts';
import { againstContinuations, STRONGER } from '../given.ts';
import { groupOf } from '../measuring.ts';
import { type Block, figuresOf, type Table, valueIn } from '../table.ts';

const ofExactValues = [
  'Errors are mean squared errors against exact values of the base actors; under the stronger ' +
    'actors against means of continuations, whose variance is subtracted.',
  'So the oracle’s error there, exact values against continuations, says how exact they are.',
  'Every critic was trained once, on chains of one length and on actors as in training.',
];
const ofChains = [
  'A stronger actor learned from exact values until it solved .35 of the held-out problems of its ' +
    'own run, a strong one .65; where success rises past both at once, they are one.',
  'Shorter chains have an actor of their own, which was made to solve about as many problems and ' +
    'so errs more at each step.',
];

const STATE_CLASS =
  'The row (state class) has the best value for each number and whether the last step is right: ' +
  'all that checking tells without the actor.';

/** Table 3: the error of the values as the distribution moves away from that of training. */
export const shift: Table = {
  number: 3,
  title: 'Approximation under shift',
  paper:
    "The generative critic's error is lower than the value head's without shift, and the more so " +
    'the larger the shift.',
  notes: (setup) => [
    ...(setup.given ? againstContinuations(setup) : ofExactValues),
    ...Object.entries(shiftsOf(setup)).map(([name, words]) => `\`${name}\`: ${words}.`),
    ...(setup.given ? [STRONGER] : ofChains),
    `\`group-mean\` knows the rewards of ${groupOf(setup)} responses, as in training; ` +
      'a state’s own response is among them.',
    'The bracketed rows are floors that know the mean value of each distribution, which critics ' +
      'do not: the best constant, and the best value for each state number.',
    ...(setup.given ? [] : [STATE_CLASS]),
  ],
  reason:
    'a critic of 85 thousand parameters was trained on chains of one length alone, and does not ' +
    'reason about others',
  parts: (setup, seed) => [criticsEvaluation(setup, seed)],
  blocks(setup, seed, results) {
    const { distributions } = results.resultOf(criticsEvaluation(setup, seed));
    const names = Object.keys(shiftsOf(setup));
    const critics = Object.keys(distributions.none!.critics);
    const errors = (measure: string): Block['rows'] =>
      critics.map((name) => ({
        name,
        cells: names.map((one) => distributions[one]!.critics[name]!.figures[measure] ?? null),
      }));
    return [
      {
        ...{ title: 'mean squared error', digits: 3, columns: names },
        rows: [
          ...errors('mse'),
          {
            name: 'success of the actor',
            cells: names.map((one) => distributions[one]!.success_measured),
          },
        ],
      },
      {
        ...{ title: 'explained variance', digits: 3, columns: names },
        rows: errors('explained_variance'),
      },
      {
        ...{ title: 'without shift, all measures', digits: 3 },
        ...figuresOf(distributions.none!, {
          mse: 'MSE',
          explained_variance: 'expl. var.',
          within_response: 'within response',
          wrong_step: 'wrong step',
          brier: 'Brier',
          bias: 'bias',
          parse_rate: 'parsed',
        }),
      },
    ];
  },
  verdict([errors]) {
    const gaps = errors!.columns.map((name, column) => ({
      name,
      words: valueIn(errors!, 'generative', column),
      head: valueIn(errors!, 'value-head', column),
    }));
    const [none, ...shifted] = gaps;
    if (gaps.some(({ words, head }) => Number.isNaN(words + head)))
      return { seen: 'some errors could not be measured', agrees: null };
    const better = gaps.filter(({ words, head }) => words < head);
    const worse = gaps.filter((gap) => !better.includes(gap));
    const wider = shifted.filter(({ words, head }) => head - words > none!.head - none!.words);
    const all = better.length === gaps.length && wider.length === shifted.length;
    const namesOf = (some: typeof gaps) => some.map(({ name }) => name).join(', ') || 'none';
    const [widest] = [...gaps].sort((a, b) => b.head - b.words - (a.head - a.words));
    return {
      seen:
        `${none!.words.toFixed(3)} against ${none!.head.toFixed(3)} without shift; at most ` +
        `${widest!.words.toFixed(3)} against ${widest!.head.toFixed(3)} (${widest!.name}); ` +
        `not lower than the head's in: ${namesOf(worse)}`,
      agrees: all ? 'yes' : better.length > gaps.length / 2 ? 'in part' : 'no',
    };
  },
};
