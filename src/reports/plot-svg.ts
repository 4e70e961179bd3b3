/** Plots side by side, in rows, as one SVG file, for pages that can't run the report's script. */
import { escapeHtml } from './report-page.ts';
import type { Plot, Series } from './report-plots.ts';
import { palette } from './report-style.ts';

const style = `${palette}
.page { fill: var(--card); } .grid { stroke: var(--line); }
text { fill: var(--soft); font: 11px system-ui, -apple-system, "Segoe UI", sans-serif; }
.name { fill: var(--text); } .title { fill: var(--text); font-weight: 600; }
polyline { fill: none; stroke-width: 1.8; }`;

const panel = { width: 300, height: 220, left: 44, right: 12, top: 28, bottom: 40 } as const;
const LEGEND = 20;
/** Plots of one row. */
const ACROSS = 3;

/** Some `count` round steps (1, 2 or 5 times a power of ten) from `least`, at most 0, to `most`. */
export function ticksOf(most: number, count: number, least = 0): number[] {
  if (!(most > least)) return [0];
  const rough = (most - least) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough)!;
  const first = Math.ceil(least / step - 1e-9);
  const last = Math.floor(most / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

/**
 * @param plots with the same series; y of a share goes from 0 to 1, any other from 0, or from the
 *   least where it is below, to the largest
 * @returns a whole SVG document
 */
export function plotsSvg(plots: readonly Plot[]): string {
  const labels = plots[0]?.series ?? [];
  const perRow = Math.max(1, Math.min(4, labels.length));
  const width = Math.max(panel.width * Math.min(ACROSS, plots.length), 560);
  const bottom = panel.height * Math.max(1, Math.ceil(plots.length / ACROSS));
  const height = bottom + LEGEND * Math.ceil(labels.length / perRow) + 12;
  const legend = labels.map(({ label, colour, dashed }, i) => {
    const x = 12 + (i % perRow) * ((width - 12) / perRow);
    const y = bottom + 12 + LEGEND * Math.floor(i / perRow);
    return (
      `${line([`${x},${y}`, `${x + 18},${y}`], colour, dashed)}` +
      `<text class="name" x="${x + 24}" y="${y + 4}">${escapeHtml(label)}</text>`
    );
  });
  const titles = plots.map(({ title, y }) => `${y}, ${title}`).join('; ');
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escapeHtml(titles)}</title>`,
    `<style>${style}</style>`,
    `<rect class="page" width="${width}" height="${height}" rx="8"/>`,
    ...plots.map((plot, i) => {
      const [across, down] = [i % ACROSS, Math.floor(i / ACROSS)];
      const at = `${across * panel.width} ${down * panel.height}`;
      return `<g transform="translate(${at})">${drawn(plot)}</g>`;
    }),
    ...legend,
    '</svg>\n',
  ].join('\n');
}

function drawn({ title, x, y, share, series }: Plot): string {
  const known = series.map(({ points: own, ...rest }) => ({
    ...rest,
    points: own.filter((point) => point.every(Number.isFinite)),
  }));
  const points = known.flatMap((one) => one.points);
  const [mostX, largest] = [0, 1].map((i) => Math.max(0, ...points.map((point) => point[i]!)));
  const mostY = share ? 1 : largest!;
  const leastY = share ? 0 : Math.min(0, ...points.map(([, value]) => value));
  const [right, bottom] = [panel.width - panel.right, panel.height - panel.bottom];
  const scale = (part: number, from: number, to: number) =>
    (from + (Number.isFinite(part) ? part : 0) * (to - from)).toFixed(1);
  const across = (value: number) => scale(value / mostX!, panel.left, right);
  const up = (value: number) => scale((value - leastY) / (mostY - leastY), bottom, panel.top);
  const named = (value: number) => String(Number(value.toPrecision(6)));
  return [
    `<text class="title" x="${panel.left}" y="16">${escapeHtml(title)}</text>`,
    ...ticksOf(mostY, 5, leastY).map(
      (tick) =>
        `<line class="grid" x1="${panel.left}" x2="${right}" y1="${up(tick)}" y2="${up(tick)}"/>` +
        `<text x="${panel.left - 5}" y="${up(tick)}" dy="4" text-anchor="end">` +
        `${named(tick)}</text>`,
    ),
    ...ticksOf(mostX!, 4).map(
      (tick) =>
        `<text x="${across(tick)}" y="${bottom + 14}" text-anchor="middle">${named(tick)}</text>`,
    ),
    `<text x="${(panel.left + right) / 2}" y="${bottom + 30}" text-anchor="middle">` +
      `${escapeHtml(x)}</text>`,
    `<text transform="translate(11 ${(panel.top + bottom) / 2}) rotate(-90)" ` +
      `text-anchor="middle">${escapeHtml(y)}</text>`,
    ...known.map(({ points: own, colour, dashed }) => {
      const places = own.map(([px, py]) => [across(px), up(py)] as const);
      if (places.length === 1) return dot(places[0]!, colour);
      return line(places.map(String), colour, dashed);
    }),
  ].join('\n');
}

/** A line of one point would not be seen. */
const dot = ([x, y]: readonly [string, string], colour: Series['colour']): string =>
  `<circle cx="${x}" cy="${y}" r="2.5" style="fill: var(--${colour})"/>`;

const line = (points: readonly string[], colour: Series['colour'], dashed?: boolean): string =>
  `<polyline points="${points.join(' ')}" style="stroke: var(--${colour})` +
  `${dashed ? '; stroke-dasharray: 5 4' : ''}"/>`;
