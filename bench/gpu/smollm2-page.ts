/** The results of bench/gpu/smollm2.ts, from the metrics of its runs, as a table. */
import { readMetrics } from '../../src/index.ts';
import { successAt } from '../../src/reproduction/curve.ts';
import { type CurvePoint, curveOf } from '../../src/reproduction/work.ts';
import { metric } from '../../src/run-folder/read.ts';

/** One method on one family with one seed. */
export interface Entry {
  readonly family: string;
  readonly seed: number;
  readonly method: string;
  /** Of its runs; the last one is of joint training, and may be at work. */
  readonly folders: readonly string[];
  /** Seconds of what came before them. */
  readonly before: Readonly<Record<string, number>>;
}

export interface Result extends Omit<Entry, 'folders' | 'before'> {
  readonly curve: readonly CurvePoint[];
  readonly seconds: Readonly<Record<string, number>>;
  readonly criticTokens: number;
  /** Held-out error of the critic and of the best constant, by stage. */
  readonly critic: readonly (readonly [stage: string, mse: number, constant: number])[];
}

export function resultOf({ folders, before, ...entry }: Entry): Result {
  const runs = folders.map((folder) => readMetrics(folder));
  const joint = runs.at(-1)!;
  return {
    ...entry,
    curve: curveOf(joint),
    seconds: {
      ...before,
      ...Object.fromEntries(
        runs.flatMap((lines) => lines.slice(-1)).map((line) => [line.stage, line.seconds]),
      ),
    },
    criticTokens: joint.reduce(
      (sum, line) => sum + (metric(line, 'critic/tokens_written') ?? 0),
      0,
    ),
    critic: runs.flat().flatMap((line) => {
      const mse = metric(line, 'critic/heldout_mse');
      const constant = metric(line, 'critic/heldout_mse_of_constant');
      if (line.type !== 'evaluation' || mse === null || constant === null) return [];
      return [[`${line.stage} ${line.iteration}`, mse, constant] as const];
    }),
  };
}

const header = [
  ...['family', 'seed', 'method', 'success before', 'at half of GenAC’s actor tokens'],
  ...[
    'at as many',
    'actor tokens (k)',
    'critic tokens (k)',
    'seconds (group mean and first stages at once)',
  ],
  'critic’s MSE (best constant)',
];

export function page(results: readonly Result[]): string {
  const three = (value: number) => (Number.isNaN(value) ? '' : value.toFixed(3));
  /** Of GenAC on the same family and seed. */
  const budgetOf = ({ family, seed }: Result) =>
    results
      .find((one) => one.method.startsWith('GenAC') && one.family === family && one.seed === seed)
      ?.curve.at(-1)?.actor_tokens ?? Number.NaN;
  const rows = results.map((one) => {
    const successes = [0, 0.5, 1].map((share) =>
      successAt(one.curve, 'actor_tokens', share && share * budgetOf(one)),
    );
    return [
      ...[one.family, String(one.seed), one.method, ...successes.map(three)],
      ...[one.curve.at(-1)!.actor_tokens, one.criticTokens].map((n) => (n / 1000).toFixed(0)),
      Object.entries(one.seconds)
        .map(([part, value]) => `${part} ${value.toFixed(0)}`)
        .join(', '),
      one.critic
        .map(([when, mse, constant]) => `${when}: ${three(mse)} (${three(constant)})`)
        .join('; '),
    ];
  });
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  return line(header) + line(header.map(() => '---')) + rows.map(line).join('');
}
