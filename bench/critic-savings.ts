/**
 * What the critic's words cost, and less: success at half of the actor's budget against critic
 * tokens for each actor token, by each means of saving, for docs/bench-critic-savings.md.
 *
 *     node --import tsx bench/critic-savings.ts [--seeds 0,1,2] [--folder runs/bench-demo]
 *
 * Each way starts from the demo's base actor of the seed; those that reason from the demo's critic
 * too. What the folder holds is not run again. About 6 minutes for a seed's demo, and 15 for the
 * ways, on 2 cores. Of the page, the part between the marks is replaced.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runDemo } from '../src/cli/demo.ts';
import { loadConfigFile } from '../src/config/load.ts';
import type { ConfigInput } from '../src/config/schema.ts';
import { median } from '../src/math/statistics.ts';
import { at, pointsOf } from '../src/reports/demo-summary.ts';
import { withoutThinking } from '../src/reproduction/foundation.ts';
import { twoSampled } from '../src/reproduction/setup.ts';
import { startRun } from '../src/run/run.ts';
import { metric, readMetrics } from '../src/run-folder/read.ts';
import { startWorkers } from '../src/workers/local.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '0,1,2' },
    folder: { type: 'string', default: 'runs/bench-demo' },
    only: { type: 'string' },
  },
});
const { config: recipe } = loadConfigFile('examples/miniature.yaml');
const critic = recipe.critic as { readonly use: string; readonly [option: string]: unknown };
/** A labelled step of the task, its own segment. */
const step = '[a-l] \\d';

interface Way {
  readonly words: string;
  readonly critic: ConfigInput['critic'];
  /** null: it is trained from nothing, by the demo's stages 1 and 2. */
  readonly from: 'demo' | null;
  /** Default: the task's own. */
  readonly segmentation?: {
    readonly by: 'pattern';
    readonly pattern: string;
    readonly max_segments: number;
  };
}

/** One completion of a state, whose thoughts begin afresh. */
const one = { ...critic, carry_until: null };
const silent = withoutThinking(one);
const ways: Record<string, Way> = {
  'sampled-2': {
    words: 'two completions, sampled scores',
    critic: { ...one, ...twoSampled },
    from: 'demo',
  },
  agree: {
    words: 'two completions, and two more where they differ by more than 1 (`agree_within`)',
    critic: { ...one, ...twoSampled, completions_per_state: 4, agree_within: 1 },
    from: 'demo',
  },
  'sampled-1': {
    words: 'one completion, sampled score',
    critic: { ...one, read: 'sampled' },
    from: 'demo',
  },
  'expected-1': {
    words: 'one completion, expected score',
    critic: one,
    from: 'demo',
  },
  'expected-1-six': {
    words: 'the same, at most 6 segments of a response',
    critic: one,
    from: 'demo',
    segmentation: { by: 'pattern', pattern: step, max_segments: 6 },
  },
  'expected-1-pairs': {
    words: 'the same, a segment for two steps',
    critic: one,
    from: 'demo',
    segmentation: { by: 'pattern', pattern: `${step} ${step}`, max_segments: 4 },
  },
  'expected-1-share-60': {
    words: 'the same, asked about .6 of the states (`share_of_states`)',
    critic: { ...one, share_of_states: 0.6 },
    from: 'demo',
  },
  'expected-1-carry': {
    words: 'the same, thoughts carried on from state to state (`carry_until`): the demo’s',
    critic,
    from: 'demo',
  },
  'expected-1-sure': {
    words: 'the same, thinking ends where the critic is sure (`sure_within`)',
    critic: { ...one, answer: 'forced', sure_within: 0.1, look_every: 8 },
    from: 'demo',
  },
  silent: {
    words: 'no words, expected score (`language-model`)',
    critic: { ...silent, use: 'language-model', answer: 'forced', max_new_tokens: 4 },
    from: null,
  },
};

/** null: the gate before joint training did not open. */
interface Figures {
  readonly tokens: number;
  readonly half: number;
  readonly end: number;
  readonly mse: number | null;
}

const table = new Map<string, (Figures | null)[]>();
for (const seed of values.seeds.split(',').map(Number)) {
  const folder = join(values.folder, `seed-${seed}`);
  const demo = join(folder, 'demo');
  const made = join(demo, 'demo.json');
  const isMade = existsSync(made) && 'seconds' in JSON.parse(readFileSync(made, 'utf8'));
  if (!isMade && (await runDemo({ folder: demo, seed })) === null) throw new Error('stopped');
  for (const [name, way] of Object.entries(ways)) {
    if (values.only && !values.only.split(',').includes(name)) continue;
    const path = join(folder, `way-${name}.json`);
    if (!existsSync(path))
      writeFileSync(path, JSON.stringify(await measure(folder, name, way, seed)));
    const figures = JSON.parse(readFileSync(path, 'utf8')) as Figures | null;
    table.set(name, [...(table.get(name) ?? []), figures]);
    console.error(seed, name, figures);
  }
}
const measured = render();
const [begin, end] = ['<!-- figures -->\n', '<!-- end -->'];
const document = 'docs/bench-critic-savings.md';
const [before, rest] = readFileSync(document, 'utf8').split(begin);
if (rest === undefined) throw new Error(`${document} lacks ${begin}`);
writeFileSync(document, before + begin + measured + end + rest.split(end)[1]);
console.log(measured);

async function measure(
  folder: string,
  name: string,
  way: Way,
  seed: number,
): Promise<Figures | null> {
  const { critic_sft, critic_rl, joint, ...shared } = recipe;
  const demo = join(folder, 'demo');
  const actor = { ...recipe.actor!, model: join(demo, 'base-actor') };
  const run = join(folder, `way-${name}`);
  await rm(run, { recursive: true, force: true });
  const workers = await startWorkers({
    workers: ['actor', 'critic'].map((worker) => ({ name: worker, threads: 1 })),
  });
  const credit =
    way.segmentation === undefined
      ? shared.credit
      : { ...shared.credit, segmentation: { ...way.segmentation, min_tokens: 1 } };
  try {
    await startRun(
      {
        ...{ ...shared, seed, actor, credit, critic: way.critic, folder: run },
        ...(way.from === 'demo'
          ? { stages: ['joint'], start_from: join(demo, 'critic-rl', 'checkpoints', 'critic-rl') }
          : { stages: ['critic-sft', 'critic-rl', 'joint'], critic_sft, critic_rl }),
        joint,
      } as ConfigInput,
      { workers },
    ).finished;
  } catch (error) {
    if (!/joint training does not start/.test((error as Error).message)) throw error;
    console.error(name, (error as Error).message);
    return null;
  } finally {
    await workers.close();
  }
  const lines = readMetrics(run).filter(({ stage }) => stage === 'joint');
  // An iteration with an evaluation also has the tokens of that, hence the median.
  const perToken = lines.flatMap((line) => {
    const [written, acted] = [metric(line, 'critic/tokens_written'), metric(line, 'actor/tokens')];
    return written === null || acted === null ? [] : [written / acted];
  });
  const points = pointsOf(lines);
  return {
    tokens: median(perToken),
    half: at(points, 0.5)!.success,
    end: points.at(-1)!.success,
    mse: at(points, 0.5)!.mse,
  };
}

function render(): string {
  const cell = (all: readonly (number | null)[], digits: number) => {
    const each = all.map((value) => value?.toFixed(digits) ?? 'shut').join(', ');
    return `${median(all.filter((value) => value !== null)).toFixed(digits)} (${each})`;
  };
  const rows = [...table].map(([name, all]) => {
    if (all.every((figures) => figures === null))
      return `| ${ways[name]!.words} | its error is not below the constant's: joint training does not start | | | |`;
    const of = (key: keyof Figures) => all.map((figures) => figures?.[key] ?? null);
    return `| ${ways[name]!.words} | ${cell(of('tokens'), 1)} | ${cell(of('half'), 3)} | ${cell(of('end'), 3)} | ${cell(of('mse'), 4)} |`;
  });
  return [
    `Medians of the seeds ${values.seeds} (each in brackets; \`shut\`: the gate before joint ` +
      'training did not open), 60 iterations, 256 held-out problems.',
    '',
    '| the critic | critic tokens for each actor token | success at half | at the end | critic’s MSE at half |',
    '|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
