/** README's picture shows the figures of docs/bench-demo.md. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { curvesOf, demoSvg, picturePath } from '../../bench/demo-plot.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const page = [
  '| iteration | actor tokens (thousands) | GenAC | group mean |',
  '|---|---|---|---|',
  '| 0 | 0 | 0.000 / 0.250 / 0.500 | 0.100 / 0.100 / 0.100 |',
  '| 10 | 20 | 1.000 / 0.750 / 0.500 | 0.200 / 0.300 / 0.400 |',
  '',
].join('\n');

it('reads a curve of each column, seed by seed', () => {
  expect(curvesOf(page)).toEqual([
    {
      ...{ label: 'GenAC', colour: 'blue', tokens: [0, 20] },
      seeds: [
        [0, 1],
        [0.25, 0.75],
        [0.5, 0.5],
      ],
    },
    {
      ...{ label: 'group mean', colour: 'orange', tokens: [0, 20] },
      seeds: [
        [0.1, 0.2],
        [0.1, 0.3],
        [0.1, 0.4],
      ],
    },
  ]);
});

it('draws each seed and the median: 0 is at y = 344, 1 at y = 62; the last tokens at x = 700', () => {
  const lines = [
    ...demoSvg(curvesOf(page)).matchAll(/<polyline class="([^"]+)" points="([^"]+)"/g),
  ];
  expect(lines.map(([, look, points]) => `${look}: ${points}`)).toEqual([
    'seed blue: 64.0,344.0 700.0,62.0',
    'seed blue: 64.0,273.5 700.0,132.5',
    'seed blue: 64.0,203.0 700.0,203.0',
    'mid blue: 64.0,273.5 700.0,132.5',
    'seed orange: 64.0,315.8 700.0,287.6',
    'seed orange: 64.0,315.8 700.0,259.4',
    'seed orange: 64.0,315.8 700.0,231.2',
    'mid orange: 64.0,315.8 700.0,259.4',
  ]);
});

it('refuses a page without the table, and a cell that is not a number', () => {
  expect(() => curvesOf('# Page')).toThrow('the page has no table that begins with "| iteration');
  expect(() => curvesOf(page.replace('0.750', '-'))).toThrow('" - " is not a number');
});

it('the committed picture is drawn from the committed table', () => {
  expect(read(picturePath)).toBe(demoSvg(curvesOf(read('docs/bench-demo.md'))));
});
