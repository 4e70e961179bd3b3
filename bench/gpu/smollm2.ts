/**
 * GenAC against the group mean on a real language model, at equal tokens of the actor, for
 * bench/gpu-smollm2.sh. Traces of a rule-based oracle, SFT and RL of the critic, joint training;
 * and from the same actor the group mean with each of two learning rates: the better one counts.
 * The group mean runs for half as many iterations again, and is read where it has used as many
 * tokens, for its responses may be shorter.
 *
 *     node --import tsx bench/gpu/smollm2.ts --model FOLDER --problems FOLDER --out FOLDER
 *         [--families sums,mixed] [--seeds 0] [--tiny]
 *
 * Writes OUT/smollm2.json and OUT/smollm2.md anew after each run, so that a stop loses nothing.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type ConfigInput,
  loadConfigFile,
  readMetrics,
  startRun,
  startWorkers,
} from '../../src/index.ts';
import { successAt } from '../../src/reproduction/tables/4-rl.ts';
import { type CurvePoint, curveOf } from '../../src/reproduction/work.ts';
import { type MetricsLine, metric } from '../../src/run-folder/read.ts';
import { givenArguments } from './arguments.ts';
import { makeTraces, runsOf } from './smollm2-runs.ts';

const { model, problems, out, families, seeds, tiny } = givenArguments();
const recipe = loadConfigFile('bench/gpu/smollm2.yaml').config;
interface Result {
  readonly family: string;
  readonly seed: number;
  readonly method: string;
  readonly curve: readonly CurvePoint[];
  readonly seconds: Readonly<Record<string, number>>;
  readonly actorTokens: number;
  readonly criticTokens: number;
  /** Held-out error of the critic and of the best constant, by stage. */
  readonly critic: readonly (readonly [stage: string, mse: number, constant: number])[];
}
const results: Result[] = [];
const workers = await startWorkers({ workers: [{ name: 'gpu' }] });
try {
  for (const seed of seeds) for (const family of families) await compare(family, seed);
} finally {
  await workers.close();
}

async function compare(family: string, seed: number): Promise<void> {
  const folder = join(out, 'runs', `${family}-${seed}`);
  mkdirSync(folder, { recursive: true });
  const { traces, runs } = runsOf(recipe, {
    ...{ family, seed, folder, tiny, model, problems },
  });
  const began = performance.now();
  await makeTraces(traces, folder, tiny ? 4 : 512);
  const making = (performance.now() - began) / 1000;
  const stages: MetricsLine[][] = [];
  for (const one of [runs.imitation, runs.pretraining, runs.joint]) stages.push(await train(one));
  note({ family, seed, method: 'GenAC' }, stages, { traces: making });
  for (const one of runs.groupMean) {
    const method = `group mean, rate ${one.actor!.learning_rate}`;
    note({ family, seed, method }, [await train(one)], {});
  }
}

async function train(config: ConfigInput): Promise<MetricsLine[]> {
  const run = startRun(config, { workers });
  for await (const event of run)
    if (event.type === 'evaluation') console.error(config.folder, event.stage, event.iteration);
  await run.finished;
  return readMetrics(config.folder);
}

function note(
  name: Pick<Result, 'family' | 'seed' | 'method'>,
  runs: readonly MetricsLine[][],
  before: Readonly<Record<string, number>>,
): void {
  const joint = runs.at(-1)!;
  const sum = (key: string) => joint.reduce((total, line) => total + (metric(line, key) ?? 0), 0);
  results.push({
    ...name,
    curve: curveOf(joint),
    seconds: {
      ...before,
      ...Object.fromEntries(runs.map((lines) => [lines[0]!.stage, lines.at(-1)!.seconds])),
    },
    ...{ actorTokens: sum('actor/tokens'), criticTokens: sum('critic/tokens_written') },
    critic: runs.flat().flatMap((line) => {
      const mse = metric(line, 'critic/heldout_mse');
      const constant = metric(line, 'critic/heldout_mse_of_constant');
      if (line.type !== 'evaluation' || mse === null || constant === null) return [];
      return [[`${line.stage} ${line.iteration}`, mse, constant] as const];
    }),
  });
  writeFileSync(join(out, 'smollm2.json'), `${JSON.stringify(results, null, 1)}\n`);
  writeFileSync(join(out, 'smollm2.md'), page());
}

function page(): string {
  const three = (value: number) => (Number.isNaN(value) ? '' : value.toFixed(3));
  /** Of GenAC on the same family and seed. */
  const budgetOf = ({ family, seed }: Result) =>
    results.find((one) => one.family === family && one.seed === seed)!.actorTokens;
  const rows = results.map((one) => {
    const { family, seed, method, curve, seconds, ...counts } = one;
    const successes = [0, 0.5, 1].map((share) =>
      successAt(curve, 'actor_tokens', share * budgetOf(one)),
    );
    return [
      ...[family, String(seed), method],
      ...successes.map(three),
      ...[counts.actorTokens, counts.criticTokens].map((tokens) => (tokens / 1000).toFixed(0)),
      Object.entries(seconds)
        .map(([part, value]) => `${part} ${value.toFixed(0)}`)
        .join(', '),
      counts.critic
        .map(([when, mse, constant]) => `${when}: ${three(mse)} (${three(constant)})`)
        .join('; '),
    ];
  });
  const header = [
    ...[
      'family',
      'seed',
      'method',
      'success before',
      'at half of GenAC’s actor tokens',
      'at as many',
    ],
    ...['actor tokens of the whole run (k)', 'critic tokens (k)', 'seconds of the whole run'],
    'critic’s MSE (best constant)',
  ];
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  return line(header) + line(header.map(() => '---')) + rows.map(line).join('');
}
