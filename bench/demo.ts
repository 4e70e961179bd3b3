/**
 * The figures of docs/bench-demo.md and the picture of README: the demo on several seeds, and for
 * each seed the critic without In-Context Conditioning and joint training with a frozen critic.
 *
 *     node --import tsx bench/demo.ts [--seeds 0,1,2] [--folder runs/bench-demo]
 *
 * Seeds that the folder holds are not run again, so that an interrupted measurement can continue.
 * About 6 minutes a seed on 2 cores. Of the page, the part between the marks is replaced.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runDemo } from '../src/cli/demo.ts';
import { loadConfigFile } from '../src/config/load.ts';
import type { ConfigInput } from '../src/config/schema.ts';
import { median } from '../src/math/statistics.ts';
import {
  at,
  type DemoSummary,
  type Point,
  pointsOf,
  summarizeDemo,
} from '../src/reports/demo-summary.ts';
import { startRun } from '../src/run/run.ts';
import { metric, readMetrics } from '../src/run-folder/read.ts';
import { startWorkers } from '../src/workers/local.ts';
import { curvesOf, demoSvg, picturePath, successTable } from './demo-plot.ts';

interface SeedFigures {
  readonly seed: number;
  readonly demo: DemoSummary;
  /** Joint training with a critic that stays as stage 2 left it. */
  readonly frozen: readonly Point[];
  /** Held-out MSE of the critic without ICC. */
  readonly withoutIcc: { readonly afterStage1: number; readonly afterStage2: number };
}

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '0,1,2' },
    folder: { type: 'string', default: 'runs/bench-demo' },
  },
});
const seeds = values.seeds.split(',').map(Number);
const { config: recipe } = loadConfigFile('examples/miniature.yaml');

const figures: SeedFigures[] = [];
for (const seed of seeds) {
  const path = join(values.folder, `seed-${seed}.json`);
  if (!existsSync(path)) writeFileSync(path, `${JSON.stringify(await measure(seed), null, 2)}\n`);
  figures.push(JSON.parse(readFileSync(path, 'utf8')) as SeedFigures);
}
const measured = render(figures);
const [begin, end] = ['<!-- figures -->\n', '<!-- end -->'];
const page = readFileSync('docs/bench-demo.md', 'utf8');
const [before, rest] = page.split(begin);
if (rest === undefined) throw new Error(`docs/bench-demo.md lacks ${begin}`);
writeFileSync('docs/bench-demo.md', before + begin + measured + end + rest.split(end)[1]);
writeFileSync(picturePath, demoSvg(curvesOf(measured)));
console.log(measured);

async function measure(seed: number): Promise<SeedFigures> {
  const folder = join(values.folder, `seed-${seed}`);
  const demo = join(folder, 'demo');
  const finished =
    existsSync(join(demo, 'demo.json')) &&
    'seconds' in JSON.parse(readFileSync(join(demo, 'demo.json'), 'utf8'));
  if (!finished && (await runDemo({ folder: demo, seed })) === null) throw new Error('stopped');
  const actor = { ...recipe.actor!, model: join(demo, 'base-actor') };
  const { critic_sft: _sft, critic_rl: _rl, joint, ...rest } = recipe;
  const { steps: iterations, schedule } = joint;
  const workers = await startWorkers({
    workers: ['actor', 'critic', 'plain'].map((name) => ({ name, threads: 1 })),
  });
  try {
    const go = async (name: string, input: Partial<ConfigInput>) => {
      await rm(join(folder, name), { recursive: true, force: true });
      const config = { ...rest, ...input, seed, folder: join(folder, name) } as ConfigInput;
      await startRun(config, { workers }).finished;
      return readMetrics(join(folder, name));
    };
    const { critic_sft, critic_rl } = recipe;
    const [frozen, plain] = await Promise.all([
      go('frozen', {
        stages: ['joint'],
        actor,
        start_from: join(demo, 'critic-rl', 'checkpoints', 'critic-rl'),
        joint: { steps: iterations, schedule, critic: 'frozen' },
      }),
      go('without-icc', {
        stages: ['critic-sft', 'critic-rl'],
        actor: { ...actor, worker: 'plain' },
        critic: { ...(recipe.critic as object), use: 'generative', icc: false, worker: 'plain' },
        workers: { plain: {} },
        critic_sft,
        critic_rl,
      }),
    ]);
    const errors = (stage: string) =>
      plain
        .flatMap((line) =>
          line.stage === stage && line.type === 'evaluation'
            ? [metric(line, 'critic/heldout_mse')]
            : [],
        )
        .filter((e) => e !== null);
    return {
      seed,
      demo: await summarizeDemo(demo),
      frozen: pointsOf(frozen),
      withoutIcc: {
        afterStage1: errors('critic-sft').at(-1)!,
        afterStage2: Math.min(...errors('critic-rl')),
      },
    };
  } finally {
    await workers.close();
  }
}

function render(all: readonly SeedFigures[]): string {
  const row = (
    words: string,
    of: (figures: SeedFigures) => number | null | undefined,
    digits = 3,
  ) => {
    const each = all.map(of);
    if (each.some((value) => value === null || value === undefined))
      return `| ${words} | ${each.map(() => '-').join(' | ')} | - |`;
    const numbers = each as number[];
    const cells = [...numbers, median(numbers)].map((value) => value.toFixed(digits));
    return `| ${words} | ${cells.join(' | ')} |`;
  };
  const head = (title: string) => [
    `| ${title} | ${all.map(({ seed }) => `seed ${seed}`).join(' | ')} | median |`,
    `|---|${all.map(() => '---|').join('')}---|`,
  ];
  /** A row for each evaluation; a cell has a figure of each seed. */
  const evaluations = (
    columns: readonly ((figures: SeedFigures) => readonly (number | null)[])[],
    digits: number,
  ) =>
    all[0]!.demo.genac.map(({ iteration }, k) => {
      const tokens = median(all.map(({ demo }) => demo.genac[k]!.actorTokens)) / 1000;
      const cells = columns.map((of) =>
        all.map((one) => of(one)[k]?.toFixed(digits) ?? '-').join(' / '),
      );
      return `| ${[iteration, tokens.toFixed(0), ...cells].join(' | ')} |`;
    });
  const success = (points: readonly Point[]) => points.map((point) => point.success);
  const error = (points: readonly Point[]) => points.map((point) => point.mse);
  const lead = ({ demo }: SeedFigures) =>
    at(demo.genac, 0.5)!.success - at(demo.groupMean, 0.5)!.success;
  return [
    `Figures of ${all.length} seeds on 2 CPU cores, with two workers of one thread each.`,
    'Success is the share of 256 held-out problems solved at temperature 1 (standard error up to 0.031).',
    'Errors are mean squared errors of the values that training uses (two sampled scores) against exact values, on 512 states.',
    'The best constant is the constant value with the least error on the same states.',
    '',
    ...head('critic, held-out actors'),
    row('best constant', ({ demo }) => demo.critic.mean, 4),
    row('after stage 1', ({ demo }) => demo.critic.afterStage1, 4),
    row('after stage 2', ({ demo }) => demo.critic.afterStage2, 4),
    row(
      'stage 2 below stage 1 by (%)',
      ({ demo }) => 100 * (1 - demo.critic.afterStage2 / demo.critic.afterStage1),
      1,
    ),
    row('after stage 1, without ICC', ({ withoutIcc }) => withoutIcc.afterStage1, 4),
    row('after stage 2, without ICC', ({ withoutIcc }) => withoutIcc.afterStage2, 4),
    '',
    `Success of the actor in stage 3; each cell has the seeds ${all.map(({ seed }) => seed).join(', ')}:`,
    '',
    `${successTable} GenAC | group mean (GRPO) | GenAC with a frozen critic |`,
    '|---|---|---|---|---|',
    ...evaluations(
      [
        ({ demo }) => success(demo.genac),
        ({ demo }) => success(demo.groupMean),
        ({ frozen }) => success(frozen),
      ],
      3,
    ),
    '',
    ...head('actor success'),
    ...[0, 0.5, 1].map((share) => {
      const when = share === 0 ? 'at the start' : share === 1 ? 'at the end' : 'at half';
      return row(`GenAC, ${when}`, ({ demo }) => at(demo.genac, share)?.success);
    }),
    row('group mean (GRPO), at half', ({ demo }) => at(demo.groupMean, 0.5)?.success),
    row('group mean (GRPO), at the end', ({ demo }) => at(demo.groupMean, 1)?.success),
    row('GenAC above the group mean at half of the tokens', lead),
    '',
    'Error of the critic on the current actor in stage 3, with a joint and with a frozen critic:',
    '',
    '| iteration | actor tokens (thousands) | joint | best constant (joint) | frozen |',
    '|---|---|---|---|---|',
    ...evaluations(
      [
        ({ demo }) => error(demo.genac),
        ({ demo }) => demo.genac.map((point) => point.constant),
        ({ frozen }) => error(frozen),
      ],
      4,
    ),
    '',
    ...head('cost'),
    row('whole demo (s)', ({ demo }) => demo.seconds, 0),
    row('training the critic first (s)', ({ demo }) => demo.critic.seconds, 0),
    row('stage 3, GenAC (s)', ({ demo }) => demo.genac.at(-1)?.seconds, 0),
    row('the same actor tokens, group mean (s)', ({ demo }) => demo.groupMean.at(-1)?.seconds, 0),
    row('actor tokens (thousands)', ({ demo }) => demo.genac.at(-1)!.actorTokens / 1000, 0),
    row('critic tokens in stage 3 (thousands)', ({ demo }) => demo.criticTokens / 1000, 0),
    '',
  ].join('\n');
}
