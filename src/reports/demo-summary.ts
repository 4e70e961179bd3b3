/** Reads a demo's figures from its run folders, for the table and the page. */
import { join } from 'node:path';
import { z } from 'zod';
import { readText } from '../files/text-file.ts';
import { type MetricsLine, metric, readMetrics } from '../run-folder/read.ts';
import { UserError } from '../user-error.ts';

export interface Point {
  readonly iteration: number;
  /** Tokens that the actor had sampled for training so far. */
  readonly actorTokens: number;
  /** Seconds since the start of the run. */
  readonly seconds: number;
  /** Held-out success. */
  readonly success: number;
  /** Critic's MSE against exact values of the current actor; null: no critic. */
  readonly mse: number | null;
  /** MSE of the best constant on the same states, for comparison with `mse` only. */
  readonly constant: number | null;
}

export interface DemoSummary {
  readonly seed: number;
  /** Seconds of the whole demo; null: it is not finished. */
  readonly seconds: number | null;
  /** Critic's MSE on held-out states of held-out actors; `mean`: that of the best constant. */
  readonly critic: {
    readonly mean: number;
    readonly afterStage1: number;
    readonly afterStage2: number;
    readonly seconds: number;
  };
  readonly genac: readonly Point[];
  readonly groupMean: readonly Point[];
  /** Tokens that the critic wrote in stage 3, up to its last evaluation, as `actorTokens` are. */
  readonly criticTokens: number;
}

export async function summarizeDemo(folder: string): Promise<DemoSummary> {
  const demo = readDemo(join(folder, 'demo.json'));
  const critic = readCritic(folder);
  const genac = readMetrics(join(folder, 'genac'));
  const evaluations = (stage: string) =>
    critic.filter(
      (line) =>
        line.stage === stage &&
        line.type === 'evaluation' &&
        metric(line, 'critic/heldout_mse') !== null &&
        metric(line, 'critic/heldout_mse_of_constant') !== null,
    );
  const stage1 = evaluations('critic-sft').at(-1);
  const stage2 = evaluations('critic-rl').map((line) => metric(line, 'critic/heldout_mse')!);
  if (!stage1 || stage2.length === 0)
    throw new UserError(`${folder} holds no finished critic: run the demo to its end`);
  return {
    seed: demo.seed,
    seconds: demo.seconds ?? null,
    critic: {
      mean: metric(stage1, 'critic/heldout_mse_of_constant')!,
      afterStage1: metric(stage1, 'critic/heldout_mse')!,
      // Stage 2 ends with the critic that has the least held-out error.
      afterStage2: stage2.reduce((least, mse) => Math.min(least, mse)),
      seconds: secondsOf(critic, 'critic-sft') + secondsOf(critic, 'critic-rl'),
    },
    genac: pointsOf(genac),
    groupMean: pointsOf(readMetrics(join(folder, 'group-mean'))),
    criticTokens: sum(genac.slice(0, genac.findLastIndex(isPoint) + 1), 'critic/tokens'),
  };
}

const demoSchema = z.looseObject({ seed: z.int(), seconds: z.number().optional() });

function readDemo(path: string): z.infer<typeof demoSchema> {
  try {
    return demoSchema.parse(JSON.parse(readText(path)));
  } catch (error) {
    const words = error instanceof z.ZodError ? 'it has no seed' : (error as Error).message;
    throw new UserError(`${path} can't be used: ${words}. Run the demo again`, { cause: error });
  }
}

/** Reads stages 1 and 2, which are separate runs; `seconds` count from the start of each. */
export const readCritic = (folder: string): MetricsLine[] =>
  ['critic-sft', 'critic-rl'].flatMap((name) => readMetrics(join(folder, name)));

const secondsOf = (lines: readonly MetricsLine[], stage: string) =>
  lines.findLast((line) => line.stage === stage)?.seconds ?? 0;

const isPoint = (line: MetricsLine) =>
  line.type === 'evaluation' &&
  line.stage === 'joint' &&
  metric(line, 'evaluation/success') !== null;

/** Returns the held-out evaluations of a joint run, by iteration and by actor tokens. */
export function pointsOf(lines: readonly MetricsLine[]): Point[] {
  let actorTokens = 0;
  const points: Point[] = [];
  for (const line of lines) {
    if (line.stage !== 'joint') continue;
    if (line.type === 'iteration') actorTokens += metric(line, 'actor/tokens') ?? 0;
    if (!isPoint(line)) continue;
    points.push({
      iteration: line.iteration,
      actorTokens,
      seconds: line.seconds,
      success: metric(line, 'evaluation/success')!,
      mse: metric(line, 'critic/heldout_mse'),
      constant: metric(line, 'critic/heldout_mse_of_constant'),
    });
  }
  return points;
}

/** Returns the evaluation nearest to a share of the actor tokens. */
export function at(points: readonly Point[], share: number): Point | undefined {
  return nearest(points, share * (points.at(-1)?.actorTokens ?? 0));
}

/** Returns the evaluation nearest to a number of actor tokens. */
function nearest(points: readonly Point[], tokens: number): Point | undefined {
  return [...points].sort(
    (a, b) => Math.abs(a.actorTokens - tokens) - Math.abs(b.actorTokens - tokens),
  )[0];
}

const sum = (lines: readonly MetricsLine[], name: string) =>
  lines.reduce(
    (total, line) =>
      total + (line.type === 'iteration' && line.stage === 'joint' ? (metric(line, name) ?? 0) : 0),
    0,
  );

export function demoTable(summary: DemoSummary): string {
  const lines = [
    conditions(summary),
    '',
    ...table(outcomeRows(summary)),
    '',
    'Critic, mean squared error against exact values:',
    ...table(criticRows(summary)),
    '',
    verdict(summary),
  ];
  return lines.join('\n');
}

/** The conditions of the measurement. */
export const conditions = ({ seed, seconds }: DemoSummary): string =>
  `Measured on one seed (${seed})${seconds === null ? '' : `, in ${seconds.toFixed(0)} s`}. Success: share of held-out problems solved at temperature 1.`;

/** Returns success and cost of both runs; the first row is the header. */
export function outcomeRows({ critic, genac, groupMean, criticTokens }: DemoSummary): string[][] {
  const rows: string[][] = [['', 'GenAC', 'group mean (GRPO)']];
  const both = (words: string, pick: (points: readonly Point[]) => string) =>
    rows.push([words, pick(genac), pick(groupMean)]);
  const percent = (point: Point | undefined) =>
    point ? `${(100 * point.success).toFixed(1)}%` : '-';
  both('actor success at the start', (p) => percent(p[0]));
  const nearestTo = (share: number) => (points: readonly Point[]) => {
    const point = at(points, share);
    return `${percent(point)}${point ? ` (iteration ${point.iteration})` : ''}`;
  };
  both('nearest to a quarter of the actor tokens', nearestTo(0.25));
  both('nearest to half of them', nearestTo(0.5));
  both('at the end', (p) => percent(p.at(-1)));
  both('actor tokens', (p) => thousands(p.at(-1)?.actorTokens));
  rows.push(['critic tokens in stage 3', thousands(criticTokens), '0']);
  both('seconds of stage 3', (p) => p.at(-1)?.seconds.toFixed(0) ?? '-');
  rows.push(['seconds to train the critic first', critic.seconds.toFixed(0), '0']);
  return rows;
}

/**
 * Returns the critic's error against exact values with that of the best constant on the same
 * states, because errors on different states are not comparable. The first row is the header.
 */
export const criticRows = ({ critic, genac }: DemoSummary): string[][] => [
  ['', 'MSE', 'best constant'],
  [
    'held-out actors: after stage 1 (imitation)',
    critic.afterStage1.toFixed(4),
    critic.mean.toFixed(4),
  ],
  [
    'held-out actors: after stage 2 (REINFORCE)',
    critic.afterStage2.toFixed(4),
    critic.mean.toFixed(4),
  ],
  ...[0, 0.5, 1].map((share) => {
    const point = at(genac, share);
    const half = `half way${point ? ` (iteration ${point.iteration})` : ''}`;
    const when = share === 0 ? 'at the start' : share === 1 ? 'at the end' : half;
    return [
      `the actor at hand in stage 3, ${when}`,
      point?.mse?.toFixed(4) ?? '-',
      point?.constant?.toFixed(4) ?? '-',
    ];
  }),
];

/** Share of GenAC's actor tokens up to which the group mean must have come. */
const ENOUGH = 0.9;

/** Says where GenAC is ahead and where it is behind, from the figures. */
export function verdict({ genac, groupMean, criticTokens, critic }: DemoSummary): string {
  const half = at(genac, 0.5);
  const last = genac.at(-1);
  const other = nearest(groupMean, half?.actorTokens ?? 0);
  const otherLast = nearest(groupMean, last?.actorTokens ?? 0);
  if (!half || !other || !last || !otherLast) return 'There is no group mean to compare with.';
  const reached = groupMean.at(-1)!.actorTokens;
  if (reached < ENOUGH * last.actorTokens)
    return (
      `The group mean ended at ${reached} actor tokens, and GenAC at ${last.actorTokens}: there ` +
      'is nothing to compare its end with.'
    );
  const tokens =
    last.actorTokens > 0
      ? `${(criticTokens / last.actorTokens).toFixed(1)} critic tokens for each actor token, `
      : '';
  const points = (a: number, b: number) =>
    `${a >= b ? '+' : ''}${(100 * (a - b)).toFixed(1)} points`;
  return [
    'At the same number of actor tokens GenAC stands at ' +
      `${points(half.success, other.success)} half way (iteration ${half.iteration}), ` +
      `${points(last.success, otherLast.success)} at the end.`,
    `It pays for that: ${tokens}${last.seconds.toFixed(0)} s against ` +
      `${otherLast.seconds.toFixed(0)} s of training the actor, ` +
      `and ${critic.seconds.toFixed(0)} s before that to train the critic.`,
  ].join('\n');
}

const thousands = (n: number | undefined) =>
  n === undefined ? '-' : n < 1e6 ? `${(n / 1e3).toFixed(0)}k` : `${(n / 1e6).toFixed(2)}M`;

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join('   '),
  );
}
