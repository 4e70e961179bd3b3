import { criticsEvaluation } from '../critics.ts';
import { type Table, valueIn } from '../table.ts';

const pools = [2, 4, 8, 16];

/** Table 2: how often the right response is valued highest. */
export const ranking: Table = {
  number: 2,
  title: 'Top-1 ranking among 2, 4, 8 and 16 candidates with one right',
  paper:
    'The generative critic ranks better than the value head in pools of every size, and the ' +
    'head falls to chance faster.',
  notes: () => [
    'A response is ranked by the value of its last state, before its last segment.',
    'n counts problems that have such a pool.',
  ],
  reason:
    'at this size the value head does not leave the constant, so that there is nothing to fall',
  parts: (setup, seed) => [criticsEvaluation(setup, seed)],
  blocks(setup, seed, results) {
    const { none } = results.resultOf(criticsEvaluation(setup, seed)).distributions;
    const ranked = Object.entries(none!.critics).filter(
      ([name, { figures }]) => !name.startsWith('(') && figures.top1_of_2,
    );
    const chance = pools.map((size) => ({
      ...{ value: 1 / size, low: Number.NaN, high: Number.NaN, n: 1 },
    }));
    return [
      {
        ...{ title: 'share of pools in which the right one is first', digits: 3 },
        columns: pools.map((size) => `of ${size}`),
        rows: [
          ...ranked.map(([name, { figures }]) => ({
            name,
            cells: pools.map((size) => figures[`top1_of_${size}`] ?? null),
          })),
          { name: '(chance)', cells: chance },
        ],
      },
    ];
  },
  verdict([block]) {
    const known = pools.flatMap((size, column) => {
      const [words, head] = ['generative', 'value-head'].map((n) => valueIn(block!, n, column));
      return Number.isNaN(words! + head!) ? [] : [{ size, words: words!, head: head! }];
    });
    if (known.length === 0) return { seen: 'no pool could be made', agrees: null };
    const better = known.filter(({ words, head }) => words > head).length;
    return {
      seen: known
        .map(
          ({ size, words, head }) =>
            `${words.toFixed(2)} against the head's ${head.toFixed(2)} of ${size}`,
        )
        .join(', '),
      agrees: better === known.length ? 'yes' : better === 0 ? 'no' : 'in part',
    };
  },
};
