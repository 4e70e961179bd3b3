/**
 * The figures of docs/bench-demo.md: the demo on several seeds, and beside each the critic without
 * In-Context Conditioning and joint training with a frozen critic.
 *
 *     node --import tsx bench/demo.ts [--seeds 0,1,2] [--folder runs/bench-demo]
 *
 * What a folder holds already is not run again, so that it can go on after an interruption. About 8
 * minutes a seed on 2 cores.
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
const page = render(figures);
writeFileSync('docs/bench-demo.md', page);
console.log(page);

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
  const success = (points: readonly Point[], share: number) => at(points, share)?.success;
  const shares = [0, 0.25, 0.5, 0.75, 1];
  const named = (share: number) =>
    share === 0
      ? 'at the start'
      : share === 1
        ? 'at the end'
        : `at ${100 * share}% of the actor tokens`;
  return [
    '# The demo, measured',
    '',
    '    node --import tsx bench/demo.ts',
    '',
    `Figures of the embedded default on ${all.length} seeds, 2 CPU cores, two workers of one thread each. Success: share of 256 held-out problems solved at temperature 1 ` +
      '(standard error up to 0.031). Errors: mean squared error of the values that training uses (two sampled scores) against exact values, on 512 states; each beside the best constant on the same states.',
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
    ...head('actor success'),
    ...shares.map((share) =>
      row(`GenAC, ${named(share)}`, ({ demo }) => success(demo.genac, share)),
    ),
    ...shares.map((share) =>
      row(`group mean (GRPO), ${named(share)}`, ({ demo }) => success(demo.groupMean, share)),
    ),
    ...shares
      .slice(1)
      .map((share) =>
        row(`GenAC with a frozen critic, ${named(share)}`, ({ frozen }) => success(frozen, share)),
      ),
    row(
      'GenAC above the group mean at half of the tokens',
      ({ demo }) => success(demo.genac, 0.5)! - success(demo.groupMean, 0.5)!,
    ),
    '',
    ...head('critic, the actor at hand in stage 3'),
    ...shares.map((share) =>
      row(`joint, ${named(share)}`, ({ demo }) => at(demo.genac, share)?.mse, 4),
    ),
    ...shares.map((share) =>
      row(`joint, best constant ${named(share)}`, ({ demo }) => at(demo.genac, share)?.constant, 4),
    ),
    ...shares.map((share) =>
      row(`frozen, ${named(share)}`, ({ frozen }) => at(frozen, share)?.mse, 4),
    ),
    '',
    ...head('what it costs'),
    row('whole demo (s)', ({ demo }) => demo.seconds, 0),
    row('training the critic first (s)', ({ demo }) => demo.critic.seconds, 0),
    row('stage 3, GenAC (s)', ({ demo }) => demo.genac.at(-1)?.seconds, 0),
    row('the same actor tokens, group mean (s)', ({ demo }) => demo.groupMean.at(-1)?.seconds, 0),
    row('actor tokens (thousands)', ({ demo }) => demo.genac.at(-1)!.actorTokens / 1000, 0),
    row('critic tokens in stage 3 (thousands)', ({ demo }) => demo.criticTokens / 1000, 0),
    '',
  ].join('\n');
}
