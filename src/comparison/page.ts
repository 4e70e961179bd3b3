/** The page of an evaluation: one self-contained HTML file with tables and plots. */

import { plotLibrary } from '../reports/plot-library.ts';
import { renderPage } from '../reports/report-page.ts';
import { colours, type Plot, type Series } from '../reports/report-plots.ts';
import type { CriticResult, DistributionResult, EvaluationResult } from './result.ts';
import {
  calibrationRows,
  conditionsOf,
  costRows,
  differenceRows,
  errorRows,
  rankingRows,
} from './tables.ts';

export function evaluationPage(result: EvaluationResult): string {
  const all = Object.entries(result.distributions);
  const titled = (name: string, words: string) => (name === 'none' ? words : `${name}: ${words}`);
  return renderPage({
    title: 'What critics are worth',
    headline: [
      'All critics valued the same states. In brackets behind a figure stands its 95% interval, ' +
        `by ${result.bootstrap} resamples of the problems; in brackets as a name, what knows ` +
        'nothing of a response: the mean of all states, and of those of the same number.',
      ...all.map(([name, one]) => titled(name, `${conditionsOf(one)}.`)),
    ],
    tables: [
      ...all.flatMap(([name, one]) => {
        const ranking = rankingRows(one);
        return [
          { title: titled(name, 'Error against reference values'), rows: errorRows(one) },
          { title: titled(name, 'Brier score and calibration'), rows: calibrationRows(one) },
          { title: titled(name, 'Difference to the first critic'), rows: differenceRows(one) },
          ...(ranking ? [{ title: titled(name, 'Ranking of responses'), rows: ranking }] : []),
          {
            title: titled(name, 'Cost of the values'),
            rows: costRows(one, result.trained_tokens),
          },
        ];
      }),
      {
        title: 'What the figures say',
        rows: [['measure', 'meaning'], ...Object.entries(result.measures)],
      },
    ],
    sections: [
      ...all.map(([name, one]) => ({ title: titled(name, 'Plots'), plots: plotsOf(one) })),
      ...(all.length > 1 ? [{ title: 'Under shift', plots: [shiftPlot(result)] }] : []),
    ],
    notation: '',
    responses: [],
    plotLibrary: plotLibrary(),
  });
}

const isFloor = (name: string) => name.startsWith('(');

function seriesOf(
  critics: DistributionResult['critics'],
  points: (critic: CriticResult, name: string) => Series['points'],
): Series[] {
  let next = 0;
  return Object.entries(critics).map(([label, critic]) => ({
    label,
    colour: isFloor(label) ? 'grey' : colours[next++ % colours.length]!,
    dashed: isFloor(label),
    points: points(critic, label),
  }));
}

const withPoints = (plot: Plot): Plot => ({
  ...plot,
  series: plot.series.filter(({ points }) => points.length > 0),
});

function plotsOf({ critics }: DistributionResult): Plot[] {
  const calibration: Plot = {
    title: 'Calibration',
    caption:
      'Mean reference value (0 to 1) of the states that a critic valued alike, put together by ' +
      'the nearest score; on the dashed line values are right.',
    ...{ x: 'value', y: 'reference value', share: false },
    series: [
      ...seriesOf(critics, ({ calibration: bins }, name) =>
        isFloor(name)
          ? []
          : bins.map(({ value, reference }) => [Number(value.toFixed(3)), reference] as const),
      ),
      {
        ...{ label: 'right', colour: 'grey', dashed: true },
        points: Array.from({ length: 11 }, (_, i) => [i / 10, i / 10] as const),
      },
    ],
  };
  const bins: Plot = {
    title: 'How often each score is given',
    caption: 'Number of states by the nearest score.',
    ...{ x: 'value', y: 'states', share: false },
    series: seriesOf(critics, ({ calibration: own }, name) =>
      isFloor(name) ? [] : own.map(({ score, n }) => [score / 10, n] as const),
    ),
  };
  const along: Plot = {
    title: 'Error along a response',
    caption: 'Mean squared error of the values by the number of the state (0: no response yet).',
    ...{ x: 'state', y: 'MSE', share: false },
    series: seriesOf(critics, ({ by_state }) => by_state.map(({ k, mse }) => [k, mse] as const)),
  };
  const ranking: Plot = {
    title: 'The right one among n',
    caption:
      'How often the right one is valued highest (per cent) among n responses to a problem ' +
      'of which one is right; dashed: by chance.',
    ...{ x: 'n', y: 'top-1', share: true },
    series: [
      ...seriesOf(critics, ({ figures }, name) =>
        isFloor(name)
          ? []
          : [2, 4, 8, 16].flatMap((n) => {
              const figure = figures[`top1_of_${n}`];
              return figure ? [[n, figure.value] as const] : [];
            }),
      ),
      {
        ...{ label: 'chance', colour: 'grey', dashed: true },
        points: [2, 4, 8, 16].map((n) => [n, 1 / n] as const),
      },
    ],
  };
  const drawable = [calibration, bins, along, ranking].map(withPoints);
  return drawable.filter(({ series }) => series.some(({ colour }) => colour !== 'grey'));
}

function shiftPlot({ distributions }: EvaluationResult): Plot {
  const all = Object.values(distributions);
  return {
    title: 'Explained variance under each shift',
    caption: `0 for the best constant, 1 for no error; shifts: ${Object.keys(distributions).join(', ')}.`,
    ...{ x: 'shift number', y: 'explained variance', share: false },
    series: seriesOf(all[0]!.critics, (_, name) =>
      all.flatMap(({ critics }, i) => {
        const figure = critics[name]?.figures.explained_variance;
        return figure ? [[i, figure.value] as const] : [];
      }),
    ),
  };
}
