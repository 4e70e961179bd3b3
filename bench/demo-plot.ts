/**
 * The picture of README, docs/images/demo.svg: success of the actor against the tokens that it
 * sampled, as the table of docs/bench-demo.md has it.
 *
 *     node --import tsx bench/demo-plot.ts
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { median } from '../src/math/statistics.ts';
import type { Series } from '../src/reports/report-plots.ts';

/** The first cells of the header of the table that the picture shows. */
export const successTable = '| iteration | actor tokens (thousands) |';

/** One run on several seeds; each seed has a success in [0, 1] at each number of actor tokens. */
export interface Curve extends Pick<Series, 'label' | 'colour' | 'dashed'> {
  /** Thousands, rising. */
  readonly tokens: readonly number[];
  /** seeds[i][k]: success of seed i at `tokens[k]`. */
  readonly seeds: readonly (readonly number[])[];
}

const looks: readonly Pick<Series, 'colour' | 'dashed'>[] = [
  { colour: 'blue' },
  { colour: 'orange' },
  { colour: 'grey', dashed: true },
];

/**
 * Reads the curves from the page's table, whose cells are `success / success / success`.
 *
 * @throws Error where the page has no such table, or a cell is not a number
 */
export function curvesOf(page: string): Curve[] {
  const lines = page.split('\n');
  const head = lines.findIndex((line) => line.startsWith(successTable));
  if (head < 0) throw new Error(`the page has no table that begins with "${successTable}"`);
  const cellsOf = (line: string) => line.split('|').slice(1, -1);
  const rest = lines.slice(head + 2);
  const end = rest.findIndex((line) => !line.startsWith('|'));
  const rows = rest.slice(0, end < 0 ? rest.length : end).map(cellsOf);
  const tokens = rows.map((row) => numberOf(row[1]!));
  return cellsOf(lines[head]!)
    .slice(2)
    .map((label, column) => {
      const cells = rows.map((row) => row[column + 2]!.split('/').map(numberOf));
      const seeds = cells[0]!.map((_, seed) => cells.map((cell) => cell[seed]!));
      return { label: label.trim(), ...looks[column]!, tokens, seeds };
    });
}

function numberOf(cell: string): number {
  const number = Number(cell);
  if (cell.trim() === '' || Number.isNaN(number)) throw new Error(`"${cell}" is not a number`);
  return number;
}

const [width, height] = [720, 400];
const plot = { left: 64, right: 700, top: 62, bottom: 344 };

/** Thin lines are the seeds, thick ones their medians. The colours are those of the report. */
export function demoSvg(curves: readonly Curve[]): string {
  const most = Math.max(...curves.flatMap(({ tokens }) => tokens));
  const x = (tokens: number) => plot.left + (tokens / most) * (plot.right - plot.left);
  const y = (success: number) => plot.bottom - success * (plot.bottom - plot.top);
  const seeds = curves[0]!.seeds.length;
  const title = `Held-out success of the actor: ${curves.map(({ label }) => label).join(', ')}`;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(
    (share) =>
      `<line class="grid" x1="${plot.left}" x2="${plot.right}" y1="${y(share)}" y2="${y(share)}"/>` +
      `<text x="${plot.left - 8}" y="${y(share) + 4}" text-anchor="end">${100 * share}%</text>`,
  );
  const at = Array.from({ length: Math.floor(most / 20) + 1 }, (_, i) => 20 * i).map(
    (tokens) =>
      `<text x="${fixed(x(tokens))}" y="${plot.bottom + 18}" text-anchor="middle">${tokens}k</text>`,
  );
  const legend = curves.map(
    ({ label, colour, dashed }, i) =>
      `<line class="${lookOf(colour, dashed)}" x1="${plot.left + 212 * i}" x2="${plot.left + 26 + 212 * i}" y1="40" y2="40"/>` +
      `<text class="name" x="${plot.left + 33 + 212 * i}" y="44">${label}</text>`,
  );
  const lines = curves.flatMap(({ colour, dashed, tokens, seeds }) => {
    const path = (of: readonly number[]) =>
      of.map((success, k) => `${fixed(x(tokens[k]!))},${fixed(y(success))}`).join(' ');
    const medians = tokens.map((_, k) => median(seeds.map((seed) => seed[k]!)));
    return [
      ...seeds.map((seed) => `<polyline class="seed ${colour}" points="${path(seed)}"/>`),
      `<polyline class="${lookOf(colour, dashed)}" points="${path(medians)}"/>`,
    ];
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">
<title>${title}</title>
<style>
.page { fill: #ffffff; } .grid { stroke: #dfe2e5; } text { fill: #5b646d; font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; } .name { fill: #1d2125; font-size: 14px; }
polyline, .mid { fill: none; stroke-width: 3; } .seed { stroke-width: 1; opacity: .55; } .dashed { stroke-dasharray: 7 5; }
.blue { stroke: #0072b2; } .orange { stroke: #c25100; } .grey { stroke: #7a838c; }
@media (prefers-color-scheme: dark) {
.page { fill: #1c2024; } .grid { stroke: #343a41; } text { fill: #a3adb7; } .name { fill: #e4e7ea; }
.blue { stroke: #56b4e9; } .orange { stroke: #f0a03c; } .grey { stroke: #9aa4ae; }
}
</style>
<rect class="page" width="${width}" height="${height}" rx="8"/>
<text class="name" x="${plot.left}" y="22">Held-out success of the actor; thick lines are medians of ${seeds} seeds</text>
${[...legend, ...ticks, ...at, ...lines].join('\n')}
<text x="${(plot.left + plot.right) / 2}" y="${plot.bottom + 42}" text-anchor="middle">tokens that the actor sampled for its training</text>
</svg>
`;
}

const lookOf = (colour: string, dashed = false) => `mid ${colour}${dashed ? ' dashed' : ''}`;
const fixed = (pixels: number) => pixels.toFixed(1);

export const picturePath = 'docs/images/demo.svg';

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  writeFileSync(picturePath, demoSvg(curvesOf(readFileSync('docs/bench-demo.md', 'utf8'))));
