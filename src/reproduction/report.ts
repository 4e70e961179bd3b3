/** A reproduction as a self-contained page, as Markdown, as CSV and as JSON. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Measured } from '../comparison/bootstrap.ts';
import { withInterval } from '../comparison/tables.ts';
import { plotLibrary } from '../reports/plot-library.ts';
import { plotsSvg } from '../reports/plot-svg.ts';
import { renderPage } from '../reports/report-page.ts';
import type { Plot } from '../reports/report-plots.ts';
import type { Block, Table, Verdict } from './table.ts';

export interface ReportedTable extends Pick<Table, 'number' | 'title' | 'paper'> {
  readonly notes: readonly string[];
  /** Where it may disagree: the most likely reason; null: not known. */
  readonly reason: string | null;
  readonly blocks: readonly Block[];
  readonly plots: readonly Plot[];
  readonly verdict: Verdict;
  /** The command that makes it. */
  readonly command: string;
}

export interface Reproduction {
  readonly genac: string;
  readonly size: string;
  readonly seeds: readonly number[];
  readonly tables: readonly ReportedTable[];
  /** Of a config with models of its own, and not of the embedded tasks. */
  readonly given: boolean;
  /** Sum of the seconds of all parts; of the embedded tasks two go at a time, of one core each. */
  readonly seconds: number;
  /** What the paper has and this does not, a sentence for each. */
  readonly missing: readonly string[];
}

/** Empty: there is no such figure. */
export function cellText(cell: Measured | null, digits: number): string {
  if (cell === null) return '';
  if (digits === 3) return withInterval(cell);
  const [low, high] = [cell.low, cell.high].map((one) =>
    Number.isFinite(one) ? one.toFixed(digits) : null,
  );
  const value = Number.isFinite(cell.value) ? cell.value.toFixed(digits) : 'not finite';
  return low === null ? value : `${value} [${low}, ${high}]`;
}

const rowsOf = (block: Block): string[][] => [
  ['', ...block.columns],
  ...block.rows.map(({ name, cells }) => [
    name,
    ...cells.map((cell) => cellText(cell, block.digits)),
  ]),
];

/** `n 56 to 211`, of the figures that have an interval. */
export function casesOf({ rows }: Block): string {
  const counts = rows.flatMap(({ cells }) =>
    cells.flatMap((cell) => (cell && Number.isFinite(cell.low) ? [cell.n] : [])),
  );
  if (counts.length === 0) return '';
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  return least === most ? `n ${least}` : `n ${least} to ${most}`;
}

const titleOf = (block: Block) => [block.title, casesOf(block)].filter(Boolean).join(', ');

const agreement = {
  yes: 'They agree.',
  'in part': 'They agree in part.',
  no: 'They do not agree.',
};

/** What the paper says, what was seen, whether they agree, and if not the likely reason. */
export function sentencesOf({
  paper,
  verdict: { seen, agrees },
  reason,
}: Pick<ReportedTable, 'paper' | 'verdict' | 'reason'>): string[] {
  return [
    `The paper: ${paper}`,
    `Seen here: ${seen}.`,
    ...(agrees === null ? [] : [agreement[agrees]]),
    ...(agrees !== null && agrees !== 'yes' && reason !== null ? [`Most likely: ${reason}.`] : []),
  ];
}

/** Conditions of all tables. */
function conditions({ size, seeds, seconds, given }: Reproduction): string[] {
  const [one, two, more] = [
    'Brackets have 95% intervals by a bootstrap over problems: they say nothing of other seeds.',
    'Each figure is the mean of the seeds, which are too few for an interval.',
    'Each figure is the mean of the seeds; brackets have 95% intervals by Student’s t over them.',
  ];
  const over = [one, two][seeds.length - 1] ?? more;
  return [
    ...(size === 'tiny' ? ['This is the smallest size: its figures mean nothing.'] : []),
    `Seeds: ${seeds.join(', ')}. ${over}`,
    `All parts together took ${(seconds / 60).toFixed(0)} minutes` +
      (given ? ', one after the other.' : ' of one core each, two at a time.'),
    given
      ? 'Critics are those after their last update. Stronger actors, and the settings of a sweep, are ' +
        'chosen by success on held-out problems; those of a data set are the tables’ own.'
      : 'States that select a checkpoint or a setting are never those that a table reports: ' +
        'runs, sweeps and tables have seeds of their own.',
  ];
}

const headingOf = ({ given }: Reproduction) =>
  given ? 'The paper’s tables, for a config' : 'The paper’s tables, in miniature';

export function markdownOf(all: Reproduction): string {
  const row = (cells: readonly string[]) => `| ${cells.map(markdownText).join(' | ')} |`;
  const table = ([head, ...rows]: readonly (readonly string[])[]) => [
    row(head!),
    `|${head!.map(() => '---|').join('')}`,
    ...rows.map(row),
    '',
  ];
  return [
    ...[`# ${headingOf(all)}`, '', 'This page is made by `genac reproduce`.'],
    ...[...conditions(all), ''],
    ...all.tables.flatMap((one) => [
      ...[`## Table ${one.number}. ${one.title}`, '', `    ${one.command}`, ''],
      ...[...one.notes, ''],
      ...one.blocks.flatMap((block) => [
        ...[`${markdownText(titleOf(block))}:`, ''],
        ...table(rowsOf(block)),
      ]),
      ...(one.plots.length === 0 ? [] : [`![${one.title}](${pictureOf(one.number)})`, '']),
      ...[...sentencesOf(one), ''],
    ]),
    ...['## What is not in it', '', ...all.missing.map((words) => `- ${words}`), ''],
  ].join('\n');
}

/** Names of files and critics are the user's. */
const markdownText = (text: string) => text.replace(/[|<\\]/g, '\\$&');

const pictureOf = (number: number) => `table-${number}.svg`;

/** Every figure in a line of its own. */
export function csvOf({ tables }: Reproduction): string {
  const quoted = (text: string) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = tables.flatMap(({ number, blocks }) =>
    blocks.flatMap(({ title, columns, rows }) =>
      rows.flatMap(({ name, cells }) =>
        cells.flatMap((cell, i) =>
          cell === null
            ? []
            : [
                [
                  ...[String(number), quoted(title), quoted(name), quoted(columns[i]!)],
                  ...[cell.value, cell.low, cell.high].map((one) =>
                    Number.isFinite(one) ? String(one) : '',
                  ),
                  String(cell.n),
                ].join(','),
              ],
        ),
      ),
    ),
  );
  return `${['table,block,row,column,value,low,high,n', ...lines].join('\n')}\n`;
}

export function pageOf(all: Reproduction): string {
  return renderPage({
    title: headingOf(all),
    headline: [
      ...conditions(all),
      ...all.tables.map((one) =>
        [
          `Table ${one.number}. ${one.title} (${one.command}).`,
          ...[...sentencesOf(one), ...one.notes],
        ].join(' '),
      ),
      ...all.missing.map((words) => `Not in it: ${words}`),
    ],
    tables: all.tables.flatMap(({ number, blocks }) =>
      blocks.map((block) => ({ title: `${number}. ${titleOf(block)}`, rows: rowsOf(block) })),
    ),
    sections: all.tables.flatMap(({ number, title, plots }) =>
      plots.length === 0 ? [] : [{ title: `${number}. ${title}`, plots }],
    ),
    notation: '',
    responses: [],
    plotLibrary: plotLibrary(),
  });
}

/** Writes `index.html`, `results.md`, `figures.csv`, `results.json`, and `table-N.svg` of plots. */
export async function writeReproduction(folder: string, all: Reproduction): Promise<void> {
  await writeFile(join(folder, 'results.json'), `${JSON.stringify(all, null, 2)}\n`);
  await writeFile(join(folder, 'figures.csv'), csvOf(all));
  await writeFile(join(folder, 'results.md'), markdownOf(all));
  await writeFile(join(folder, 'index.html'), pageOf(all));
  for (const { number, plots } of all.tables)
    if (plots.length > 0) await writeFile(join(folder, pictureOf(number)), plotsSvg(plots));
}
