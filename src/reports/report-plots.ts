/** Data of the page's plots, from a demo's metrics and trajectories. The page draws them. */
import { groupBy, mean } from '../math/statistics.ts';
import { type MetricsLine, metric, type RecordedTrajectory } from '../run-folder/read.ts';
import type { Point } from './demo-summary.ts';

/** In the order in which series take them. */
export const colours = [
  'blue',
  'orange',
  'green',
  'purple',
  'sky',
  'brown',
  'red',
  'olive',
] as const;

export interface Series {
  readonly label: string;
  /** A colour of the page's style. */
  readonly colour: (typeof colours)[number] | 'grey';
  readonly dashed?: boolean;
  /** [x, y] pairs with rising x. */
  readonly points: readonly (readonly [number, number])[];
}

export interface Plot {
  readonly title: string;
  /** One sentence: what the plot shows, and its unit. */
  readonly caption: string;
  readonly x: string;
  readonly y: string;
  /** True: values in [0, 1] are shown as per cent. */
  readonly share: boolean;
  readonly series: readonly Series[];
}

/** The parts of a trajectory that plots and the choice of responses need, without its texts. */
export interface Outline extends Pick<RecordedTrajectory, 'iteration' | 'reward'> {
  readonly segments: readonly Pick<RecordedTrajectory['segments'][number], 'value'>[];
}

export function successPlots(genac: readonly Point[], groupMean: readonly Point[]): Plot[] {
  const runs = [
    { label: 'GenAC', colour: 'blue', points: genac },
    { label: 'group mean (GRPO)', colour: 'orange', points: groupMean },
  ] as const;
  const against = (x: 'iteration' | 'actorTokens') =>
    runs
      .filter(({ points }) => points.length > 0)
      .map((run): Series => ({ ...run, points: run.points.map((p) => [p[x], p.success]) }));
  const common = { y: 'held-out success', share: true };
  return [
    {
      ...common,
      title: 'Success of the actor, by iteration',
      caption:
        'Share of held-out problems that the actor solves at temperature 1 (per cent), ' +
        'against iterations of stage 3.',
      x: 'iteration',
      series: against('iteration'),
    },
    {
      ...common,
      title: 'Success of the actor, by actor tokens',
      caption:
        'The same share (per cent), against the tokens that the actor had sampled for its ' +
        'training by then; the critic’s own tokens are not counted here.',
      x: 'actor tokens',
      series: against('actorTokens'),
    },
  ];
}

const along = (
  lines: readonly MetricsLine[],
  name: string,
  x: (line: MetricsLine) => number = (line) => line.iteration,
) => {
  const points = new Map<number, number>();
  for (const line of lines) {
    const y = metric(line, name);
    if (y !== null) points.set(x(line), y);
  }
  return [...points].sort(([a], [b]) => a - b);
};

/** Plots stage 1 by its steps, and stage 2 by its updates; 0 is the critic after stage 1. */
export function pretrainingPlots(lines: readonly MetricsLine[]): Plot[] {
  const evaluations = lines.filter((line) => line.type === 'evaluation');
  const imitated = evaluations.filter((line) => line.stage === 'critic-sft');
  const end = lastIteration(imitated);
  const learned = evaluations.filter(
    (line) => line.stage !== 'critic-sft' || line.iteration === end,
  );
  const x = (line: MetricsLine) => (line.stage === 'critic-sft' ? 0 : line.iteration);
  const loss: Plot = {
    title: 'Stage 1: imitation of the oracle',
    caption:
      'How badly the critic predicts the tokens of held-out rationales (nats per token; ' +
      'lower is better), against steps of stage 1.',
    x: 'step',
    y: 'nats per token',
    share: false,
    series: [
      {
        label: 'held-out rationales',
        colour: 'blue',
        points: along(evaluations, 'critic/rationale_loss'),
      },
    ],
  };
  const error: Plot = {
    title: 'Stage 2: error of the critic on held-out actors',
    caption:
      'Mean squared error of the critic’s values (0 to 1) against exact values of actors ' +
      'that it never saw, from the end of stage 1 (at 0) through the updates of stage 2; the ' +
      'dashed line is the best constant.',
    x: 'update of stage 2',
    y: 'MSE',
    share: false,
    series: [
      { label: 'critic', colour: 'blue', points: along(learned, 'critic/heldout_mse', x) },
      {
        label: 'best constant',
        colour: 'grey',
        dashed: true,
        points: along(learned, 'critic/heldout_mse_of_constant', x),
      },
    ],
  };
  return [loss, error].filter(hasPoints);
}

/**
 * Plots of stage 3: the critic's error on the current actor, and whether its values separate right
 * responses from wrong ones.
 */
export function jointPlots(lines: readonly MetricsLine[]): Plot[] {
  const joint = lines.filter((line) => line.stage === 'joint');
  const evaluations = joint.filter((line) => line.type === 'evaluation');
  const closed = joint.filter((line) => metric(line, 'gate/fallback') === 1).length;
  const value = (
    label: string,
    name: string,
    colour: Series['colour'],
    dashed: boolean,
  ): Series => ({
    label,
    colour,
    dashed,
    points: along(joint, name),
  });
  const error: Plot = {
    title: 'Stage 3: error of the critic on the actor at hand',
    caption:
      'Mean squared error of the critic’s values (0 to 1) against exact values of the actor ' +
      'as it is at that iteration; the dashed line is the best constant for the same states, ' +
      'and moves with the actor.',
    x: 'iteration',
    y: 'MSE',
    share: false,
    series: [
      { label: 'critic', colour: 'blue', points: along(evaluations, 'critic/heldout_mse') },
      {
        label: 'best constant',
        colour: 'grey',
        dashed: true,
        points: along(evaluations, 'critic/heldout_mse_of_constant'),
      },
    ],
  };
  const gap: Plot = {
    title: 'Stage 3: value of right and wrong responses',
    caption:
      'Mean value (0 to 1) that the critic gave before the first segment (dashed) and before ' +
      'the last one (solid), of responses that turned out right and wrong' +
      (closed === 0
        ? '.'
        : `; in ${closed} ${closed === 1 ? 'iteration' : 'iterations'} the gate put the group ` +
          'mean in its place, and credit used that.'),
    x: 'iteration',
    y: 'value',
    share: false,
    series: [
      value('right, last', 'value/last_right', 'blue', false),
      value('wrong, last', 'value/last_wrong', 'orange', false),
      value('right, first', 'value/first_right', 'blue', true),
      value('wrong, first', 'value/first_wrong', 'orange', true),
    ],
  };
  return [error, gap].filter(hasPoints);
}

/**
 * Plots the mean of the critic's values by segment number (from 1), over recorded responses of the
 * second half of stage 3.
 */
export function segmentPlot(trajectories: readonly Outline[]): Plot | null {
  const last = lastIteration(trajectories);
  const late = trajectories.filter((t) => 2 * t.iteration >= last);
  const means = (right: boolean): [number, number][] => {
    const values = late
      .filter((t) => isRight(t) === right)
      .flatMap((t) => t.segments.map(({ value }, k) => ({ segment: k + 1, value })));
    const bySegment = groupBy(values, (v) => v.segment);
    return [...bySegment]
      .map(([segment, of]): [number, number] => [segment, mean(of.map((v) => v.value))])
      .sort(([a], [b]) => a - b);
  };
  const count = late.filter(isRight).length;
  const plot: Plot = {
    title: 'Value along a response',
    caption:
      `Mean of the critic’s values (0 to 1) before each segment, over ${count} right and ` +
      `${late.length - count} wrong responses recorded in the second half of stage 3.`,
    x: 'segment',
    y: 'value',
    share: false,
    series: [
      { label: 'right', colour: 'blue', points: means(true) },
      { label: 'wrong', colour: 'orange', points: means(false) },
    ],
  };
  return hasPoints(plot) ? plot : null;
}

/** 0 if there is none. A loop, because a call can't have as many arguments as a file has lines. */
export const lastIteration = (of: readonly { readonly iteration: number }[]): number =>
  of.reduce((last, { iteration }) => Math.max(last, iteration), 0);

export const isRight = ({ reward }: { readonly reward: number }): boolean => reward >= 0.5;

const hasPoints = (plot: Plot): boolean => plot.series.some((series) => series.points.length > 0);
