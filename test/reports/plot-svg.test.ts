/** Pictures of plots, for pages without a script. */
import { describe, expect, it } from 'vitest';
import { plotsSvg, ticksOf } from '../../src/reports/plot-svg.ts';
import type { Plot } from '../../src/reports/report-plots.ts';

const plot = (title: string, points: Plot['series'][number]['points']): Plot => ({
  ...{ title, caption: '', x: 'tokens', y: 'success', share: true },
  series: [
    { label: 'a < b', colour: 'blue', points },
    { label: 'bound', colour: 'grey', dashed: true, points: [] },
  ],
});

describe('ticks', () => {
  it('are round, from 0 on, as many as asked for at most', () => {
    expect(ticksOf(1, 5).map((tick) => tick.toFixed(1))).toEqual([
      '0.0',
      '0.2',
      '0.4',
      '0.6',
      '0.8',
      '1.0',
    ]);
    expect(ticksOf(131, 4)).toEqual([0, 50, 100]);
    expect(ticksOf(0.5, 5, -0.3).map((tick) => tick.toFixed(1))).toEqual([
      ...['-0.2', '0.0', '0.2', '0.4'],
    ]);
    for (const nothing of [0, Number.NaN]) expect(ticksOf(nothing, 4)).toEqual([0]);
  });
});

describe('a picture', () => {
  it('has a panel for each plot, with its points where they belong, and one legend', () => {
    const svg = plotsSvg([
      plot('one', [
        [0, 0],
        [50, 0.5],
        [100, 1],
      ]),
      plot('two', [[0, 0.25]]),
    ]);
    // From x 44 to 288 and from y 180 up to 28.
    expect(svg).toContain('<polyline points="44.0,180.0 166.0,104.0 288.0,28.0"');
    expect(svg).toContain('translate(300 0)');
    expect(svg.match(/a &lt; b/g)).toHaveLength(1);
    expect(svg.match(/stroke-dasharray/g)).toHaveLength(3);
    expect(svg).not.toMatch(/NaN|undefined|a < b/);
  });
  it('shows a single point, and leaves out what is not finite', () => {
    const svg = plotsSvg([
      plot('one', [[100, 1]]),
      plot('two', [
        [0, 0],
        [50, Number.NaN],
        [100, 1],
      ]),
    ]);
    expect(svg).toContain('<circle cx="288.0" cy="28.0" r="2.5"');
    expect(svg).toContain('<polyline points="44.0,180.0 288.0,28.0"');
    expect(svg).not.toContain('NaN');
  });
  it('begins below 0 where a value does', () => {
    const explained = {
      ...plot('explained', [
        [0, -0.5],
        [100, 1.5],
      ]),
      share: false,
    };
    // From y 180 up to 28; 0 is a quarter of the way.
    const svg = plotsSvg([explained]);
    expect(svg).toContain('<polyline points="44.0,180.0 288.0,28.0"');
    expect(svg).toContain(
      'y1="142.0" y2="142.0"/><text x="39" y="142.0" dy="4" text-anchor="end">0<',
    );
  });
  it('has three panels in a row, and the legend below all rows', () => {
    const svg = plotsSvg(['1', '2', '3', '4'].map((title) => plot(title, [[0, 1]])));
    const places = [...svg.matchAll(/<g transform="translate\((\d+ \d+)\)"/g)].map(([, at]) => at);
    expect(places).toEqual(['0 0', '300 0', '600 0', '0 220']);
    // Two rows of 220 and one of the legend.
    expect(svg).toContain('viewBox="0 0 900 472"');
    expect(svg).toContain('y="456"');
  });
  it('of nothing is empty, and no error', () => {
    expect(plotsSvg([])).not.toMatch(/NaN|undefined/);
    expect(plotsSvg([plot('none', [])])).not.toMatch(/NaN|undefined/);
  });
});
