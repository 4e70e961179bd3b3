/** An evaluation as tables: for the terminal, for a page, and as CSV. */
import type { Figure, Measured } from './bootstrap.ts';
import type { CriticResult, DistributionResult, EvaluationResult } from './result.ts';

type Rows = readonly (readonly string[])[];

const digits = (value: number): string => {
  if (!Number.isFinite(value)) return '-';
  const text = value.toFixed(3);
  return text.replace(/^(-?)0\./, '$1.');
};

/** `.123 [.100, .150]`; empty: there is no such figure. */
export const withInterval = (figure: Measured | Figure | undefined, sign = false): string => {
  if (!figure) return '';
  const { value, low, high } = figure;
  const plus = sign && value > 0 ? '+' : '';
  // NaN, and null where it was read from JSON.
  if (!Number.isFinite(low)) return `${plus}${digits(value)}`;
  return `${plus}${digits(value)} [${digits(low)}, ${digits(high)}]`;
};

/** The measures that a table shows, and their heads. */
const shown: readonly (readonly [string, string])[] = [
  ['mse', 'MSE'],
  ['explained_variance', 'expl. var.'],
  ['within_response', 'within response'],
  ['wrong_step', 'wrong step'],
];
const calibrated: typeof shown = [
  ['brier', 'Brier'],
  ['reliability', 'reliability'],
  ['resolution', 'resolution'],
  ['bias', 'bias'],
  ['parse_rate', 'parsed'],
];

/** Columns that no critic has are left out. */
function columnsOf(critics: readonly (readonly [string, CriticResult])[], all: typeof shown) {
  return all.filter(([name]) => critics.some(([, { figures }]) => figures[name]));
}

export const errorRows = (result: DistributionResult): Rows => figureRows(result, shown);
export const calibrationRows = (result: DistributionResult): Rows => figureRows(result, calibrated);

function figureRows({ critics }: DistributionResult, all: typeof shown): Rows {
  const entries = Object.entries(critics);
  const columns = columnsOf(entries, all);
  return [
    ['critic', ...columns.map(([, head]) => head)],
    ...entries.map(([name, { figures }]) => [
      name,
      ...columns.map(([measure]) => withInterval(figures[measure])),
    ]),
  ];
}

/** Differences to the first critic on the same problems. */
export function differenceRows({ critics }: DistributionResult): Rows {
  const [first, ...others] = Object.entries(critics);
  const columns = columnsOf(others, [...shown, ...calibrated.slice(0, 1)]);
  return [
    [`less ${first![0]}`, ...columns.map(([, head]) => head)],
    ...others.map(([name, { against = {} }]) => [
      name,
      ...columns.map(([measure]) => withInterval(against[measure], true)),
    ]),
  ];
}

const pools = [2, 4, 8, 16].map((size) => [`top1_of_${size}`, `of ${size}`] as const);

/** null: no pool could be made. */
export function rankingRows({ critics }: DistributionResult): Rows | null {
  const entries = Object.entries(critics).filter(([name]) => !name.startsWith('('));
  const columns = columnsOf(entries, pools);
  if (columns.length === 0) return null;
  const n = (measure: string) =>
    entries.map(([, { figures }]) => figures[measure]?.n).find((one) => one !== undefined);
  return [
    ['top-1 among', ...columns.map(([measure, head]) => `${head} (n ${n(measure)})`)],
    ...entries.map(([name, { figures }]) => [
      name,
      ...columns.map(([measure]) => withInterval(figures[measure])),
    ]),
    ['chance', ...columns.map(([measure]) => digits(1 / Number(measure.slice('top1_of_'.length))))],
  ];
}

export function costRows(
  { critics }: DistributionResult,
  trained: EvaluationResult['trained_tokens'],
): Rows {
  const each = (total: number, states: number) => (total / Math.max(1, states)).toFixed(1);
  const dollars = Object.values(critics).some(({ cost }) => cost !== null && cost.dollars > 0);
  return [
    [
      ...['per state', 'tokens read', 'prefixes shared', 'tokens written', 'ms'],
      ...(dollars ? ['dollars'] : []),
      'tokens trained in its run',
    ],
    ...Object.entries(critics).flatMap(([name, { cost }]) => {
      if (cost === null) return [];
      const { states } = cost;
      return [
        [
          ...[name, each(cost.read, states), each(cost.read_shared, states)],
          ...[each(cost.written, states), each(1000 * cost.seconds, states)],
          ...(dollars ? [(cost.dollars / Math.max(1, states)).toFixed(6)] : []),
          Object.hasOwn(trained, name) ? trained[name]!.toLocaleString('en') : '',
        ],
      ];
    }),
  ];
}

/** `256 states of 64 problems (128 responses, success .31) against exact values`. */
export function conditionsOf(result: DistributionResult): string {
  const { states, problems, responses, success, references } = result;
  const of = responses === 0 ? '' : ` (${responses} responses, success ${digits(success)})`;
  const against = { exact: 'exact values', continuations: 'continuations', outcomes: 'outcomes' };
  return `${states} states of ${problems} problems${of}, against ${against[references]}`;
}

/** Columns of equal width, the first to the left. */
export function plainTable(rows: Rows): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function terminalText(result: EvaluationResult): string {
  return Object.entries(result.distributions)
    .map(([name, one]) => {
      const ranking = rankingRows(one);
      const tables = [errorRows(one), calibrationRows(one), ...(ranking ? [ranking] : [])];
      const more = [differenceRows(one), costRows(one, result.trained_tokens)];
      return [
        `${name === 'none' ? '' : `shift ${name}: `}${conditionsOf(one)}`,
        ...[...tables, ...more].map(plainTable),
      ].join('\n\n');
    })
    .join('\n\n\n');
}

/** Every figure in a line of its own. */
export function figuresCsv({ distributions }: EvaluationResult): string {
  const head = 'shift,critic,measure,value,low,high,n,difference,difference_low,difference_high';
  const lines = Object.entries(distributions).flatMap(([shift, { critics }]) =>
    Object.entries(critics).flatMap(([critic, { figures, against = {} }]) =>
      Object.entries(figures).map(([measure, { value, low, high, n }]) => {
        const difference = against[measure];
        const cells = [shift, critic, measure, value, low, high, n];
        return [...cells, difference?.value, difference?.low, difference?.high]
          .map((cell) => (cell === undefined || Number.isNaN(cell) ? '' : cell))
          .join(',');
      }),
    ),
  );
  return `${[head, ...lines].join('\n')}\n`;
}
