/**
 * Renders an HTML page from figures, plots and responses. All text of a run is escaped, and the
 * page loads nothing from the network.
 */
import { createHash } from 'node:crypto';
import { type RecordedSegment, type RecordedTrajectory, wordsOf } from '../run-folder/read.ts';
import { promptText } from '../text/critic-prompt.ts';
import { printable, printableLine } from '../text/printable.ts';
import { isRight, type Plot } from './report-plots.ts';
import { reportStyle } from './report-style.ts';

export interface Page {
  readonly title: string;
  /** One paragraph for each. */
  readonly headline: readonly string[];
  readonly tables: readonly {
    readonly title: string;
    readonly rows: readonly (readonly string[])[];
  }[];
  readonly sections: readonly { readonly title: string; readonly plots: readonly Plot[] }[];
  /** Explains how to read the responses. */
  readonly notation: string;
  readonly responses: readonly { readonly why: string; readonly trajectory: RecordedTrajectory }[];
  readonly plotLibrary: { readonly script: string; readonly style: string };
}

export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

/** Allows these scripts and no others, and forbids all network access. */
export function contentPolicy(scripts: readonly string[] = []): string {
  const digests = scripts.map((s) => `'sha256-${createHash('sha256').update(s).digest('base64')}'`);
  const rules = [
    "default-src 'none'",
    "style-src 'unsafe-inline'",
    ...(digests.length > 0 ? [`script-src ${digests.join(' ')}`] : []),
    "base-uri 'none'",
    "form-action 'none'",
  ];
  return `<meta http-equiv="Content-Security-Policy" content="${rules.join('; ')}">`;
}

/** JSON for a script element, which no text in it can end. */
export const scriptJson = (value: unknown): string =>
  JSON.stringify(value).replaceAll('<', '\\u003c');

export function renderPage(page: Page): string {
  const plots = page.sections.flatMap((section) => section.plots);
  const title = escapeHtml(page.title);
  const script = `const plots = ${scriptJson(plots.map(drawable))};\n${draw}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${contentPolicy([page.plotLibrary.script, script])}
<title>${title}</title>
<style>${page.plotLibrary.style}${reportStyle}</style>
</head>
<body><main>
<h1>${title}</h1>
${page.headline.map((text) => `<p>${escapeHtml(text)}</p>`).join('\n')}
<div class="tables">${page.tables.map(({ title, rows }) => `<section><h2>${escapeHtml(title)}</h2>${tableOf(rows)}</section>`).join('\n')}</div>
${page.sections.map(({ title, plots: own }) => `<h2>${escapeHtml(title)}</h2>\n<div class="plots">${own.map((plot) => figureOf(plot, plots.indexOf(plot))).join('\n')}</div>`).join('\n')}
${responsesOf(page)}
</main>
<script>${page.plotLibrary.script}</script>
<script>${script}</script>
</body></html>
`;
}

export function tableOf([head, ...rows]: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`;
  return (
    '<div class="scroll"><table ' +
    `class="figures"><thead>${row(head ?? [], 'th')}</thead><tbody>${rows.map((cells) => row(cells, 'td')).join('')}</tbody></table></div>`
  );
}

function figureOf(plot: Plot, index: number): string {
  const { xs, columns } = drawable(plot);
  const cell = (y: number | null | undefined) =>
    y == null ? '' : plot.share ? `${(100 * y).toFixed(1)}%` : y.toFixed(4);
  const rows = xs.map((x, i) => [String(x), ...columns.map((ys) => cell(ys[i]))]);
  return `<figure><h3>${escapeHtml(plot.title)}</h3>
<div class="plot" id="plot-${index}" role="img" aria-label="${escapeHtml(plot.caption)}"></div>
<figcaption>${escapeHtml(plot.caption)}</figcaption>
<details><summary>The numbers</summary>${tableOf([[plot.x, ...plot.series.map((s) => s.label)], ...rows])}</details></figure>`;
}

/** Series over the union of their x; null: a series has no value there. */
function drawable({ x, y, share, series }: Plot) {
  const xs = [...new Set(series.flatMap((s) => s.points.map(([at]) => at)))].sort((a, b) => a - b);
  const columns = series.map(({ points }) => {
    const known = new Map(points);
    return xs.map((at) => known.get(at) ?? null);
  });
  return {
    x,
    y,
    share,
    xs,
    columns,
    series: series.map(({ label, colour, dashed = false, points }) => ({
      ...{ label, colour, dashed, count: points.length },
    })),
  };
}

function responsesOf({ responses, notation }: Page): string {
  if (responses.length === 0) return '';
  return `<h2>What the critic wrote</h2>
<p>The first right and the first wrong response recorded in each third of stage 3, then the two on which the critic was furthest off before the last segment. Each row is a segment of the response: the critic’s value before it (0 to 1), the advantage that the actor was given for it (before scaling), and the critic’s words.</p>
<p>${escapeHtml(notation)}</p>
${responses.map(responseOf).join('\n')}`;
}

/** Hidden characters are shown as escapes. */
export function responseOf({ why, trajectory }: Page['responses'][number]): string {
  const outcome = isRight(trajectory) ? 'right' : 'wrong';
  const replaced = trajectory.segments.find((s) => Math.abs(s.used_value - s.value) > 1e-9);
  const gate = replaced
    ? '<p class="soft">In this iteration the gate put the group mean, ' +
      `${replaced.used_value.toFixed(2)}, in the place of these values.</p>`
    : '';
  return `<article class="response"><h3><span class="mark ${outcome}">${outcome}</span> ${escapeHtml(printableLine(why))}, iteration ${escapeHtml(String(trajectory.iteration))}</h3>
<p class="problem">${escapeHtml(printable(promptText(trajectory.prompt)))}</p>
${gate}<div class="segment head"><span>segment</span><span>value before it</span><span class="advantage">advantage</span><span class="rationale">the critic’s words</span></div>
${trajectory.segments.map(segmentOf).join('\n')}</article>`;
}

function segmentOf(segment: RecordedSegment): string {
  const { text, value, advantage } = segment;
  const rounded = Math.round(100 * advantage) / 100;
  const [sign, look] = rounded > 0 ? ['+', 'right'] : rounded < 0 ? ['−', 'wrong'] : ['', 'soft'];
  return (
    `<div class="segment"><span class="text">${escapeHtml(printable(text.trim()))}</span><span ` +
    'class="value"><i ' +
    `style="width:${(100 * value).toFixed(1)}%"></i><b>${value.toFixed(2)}</b></span><span ` +
    `class="advantage ${look}">${sign}${Math.abs(rounded).toFixed(2)}</span><span ` +
    `class="rationale">${escapeHtml(printable(wordsOf(segment)))}</span></div>`
  );
}

/**
 * Runs in the page: draws every plot with uPlot, and again if its width or the colour scheme
 * changes.
 */
const draw = `
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
const short = (v) => (Math.abs(v) >= 1e6 ? v / 1e6 + 'M' : Math.abs(v) >= 1e4 ? v / 1e3 + 'k' : String(+v.toFixed(4)));
const drawn = plots.map(() => null);
function drawPlot(i) {
  const { x, y, share, xs, columns, series } = plots[i];
  const place = document.getElementById('plot-' + i);
  drawn[i]?.destroy();
  const show = (v) => (v == null ? '–' : share ? (100 * v).toFixed(1) + '%' : v.toFixed(4));
  const tick = (v) => (share ? +(100 * v).toFixed(1) + '%' : short(v));
  const axis = { stroke: colour('soft'), grid: { stroke: colour('line'), width: 1 }, ticks: { stroke: colour('line'), width: 1 }, font: '12px system-ui, sans-serif', labelFont: '12px system-ui, sans-serif', labelSize: 20 };
  drawn[i] = new uPlot({
    width: place.clientWidth, height: 250, cursor: { y: false },
    scales: { x: { time: false }, y: { range: (u, min, max) => [Math.min(0, min ?? 0), Math.max(max ?? 1, 1e-9) * 1.05] } },
    axes: [{ ...axis, label: x, size: 34, values: (u, all) => all.map(short) }, { ...axis, label: y, size: 52, values: (u, all) => all.map(tick) }],
    series: [{ label: x, value: (u, v) => (v == null ? '–' : v.toLocaleString('en')) }, ...series.map((s) => ({
      label: s.label, stroke: colour(s.colour), width: 2, dash: s.dashed ? [6, 5] : undefined, spanGaps: true,
      points: { show: s.count < 30 && !s.dashed, size: 6, fill: colour(s.colour) },
      value: (u, v) => show(v),
    }))],
  }, [xs, ...columns], place);
}
const drawAll = () => plots.forEach((_, i) => drawPlot(i));
drawAll();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
addEventListener('resize', () => plots.forEach((_, i) => drawn[i].setSize({ width: document.getElementById('plot-' + i).clientWidth, height: 250 })));
`;
