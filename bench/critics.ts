/**
 * The figures of docs/critics/README.md: every critic on the same states of the embedded task, by
 * one evaluation.
 *
 *     node --import tsx bench/critics.ts [--folder runs/bench-demo/seed-0] [--seed 0]
 *
 * The generative critic is the demo's after stage 2; the one without words is trained by the same
 * stages; the value head, from the base actor's weights, on responses of the base actor. What the
 * folder holds is not made again. About 15 minutes on 2 cores from nothing. Of the page, the part
 * between the marks is replaced.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { runDemo } from '../src/cli/demo.ts';
import { evaluate } from '../src/comparison/evaluate.ts';
import { conditionsOf, costRows, errorRows, rankingRows } from '../src/comparison/tables.ts';
import { loadConfigFile } from '../src/config/load.ts';
import type { ConfigInput } from '../src/config/schema.ts';
import { withoutThinking } from '../src/reproduction/foundation.ts';
import { twoSampled } from '../src/reproduction/setup.ts';
import { startRun } from '../src/run/run.ts';
import { startWorkers, type WorkerGroup } from '../src/workers/local.ts';

const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: 'runs/bench-demo/seed-0' },
    seed: { type: 'string', default: '0' },
  },
});
const seed = Number(values.seed);
const folder = resolve(values.folder);
const demo = join(folder, 'demo');
const { config: recipe } = loadConfigFile('examples/miniature.yaml');
const { critic_sft, critic_rl, joint: _joint, ...shared } = recipe;
const baseActor = join(demo, 'base-actor');
const actor = { ...recipe.actor!, model: baseActor };
const generative = recipe.critic as { readonly use: string; readonly [option: string]: unknown };
const silent = withoutThinking(generative);

if (!existsSync(join(demo, 'critic-rl', 'best-critic')))
  if ((await runDemo({ folder: demo, seed })) === null) throw new Error('stopped');
const workers = await startWorkers({
  workers: ['actor', 'critic'].map((name) => ({ name, threads: 1 })),
});
try {
  await trained(workers, 'critics-language-model', {
    stages: ['critic-sft', 'critic-rl'],
    critic: { ...silent, use: 'language-model', max_new_tokens: 6 },
    ...{ critic_sft, critic_rl },
  });
  await trained(workers, 'critics-value-head', {
    stages: ['critic-rl'],
    critic: { use: 'value-head', model: baseActor, bounded: true },
    critic_rl: {
      ...{ steps: 100, states: 512, states_per_response: 'all', actor_share: 1 },
      ...{ learning_rate: 1e-3, decay: 'linear', warmup: 10, evaluate_every: 100, keep: 'last' },
    },
  });
  const weights = (run: string, stage: string) => join(run, 'checkpoints', stage, 'critic');
  const head = {
    use: 'value-head',
    model: weights(join(folder, 'critics-value-head'), 'critic-rl'),
    bounded: true,
  };
  const words = {
    ...generative,
    model: weights(join(demo, 'critic-rl'), 'critic-rl'),
  };
  const result = await evaluate(
    {
      ...{ folder: join(folder, 'critics'), seed, task: recipe.task, prompts: 256 },
      actor: { model: baseActor },
      sampling: { max_new_tokens: recipe.sampling.max_new_tokens },
      group_size: recipe.sampling.num_generations,
      critics: {
        generative: { from: join(demo, 'critic-rl') },
        'generative-afresh': { ...words, carry_until: null },
        'generative-sampled-2': { ...words, ...twoSampled },
        'language-model': { from: join(folder, 'critics-language-model') },
        'value-head': head,
        'monte-carlo-9': { use: 'monte-carlo', continuations: 9 },
        'ensemble-mean': { use: 'ensemble', critics: [words, head] },
        'ensemble-cascade': { use: 'ensemble', by: 'cascade', critics: [head, words], share: 0.5 },
        'group-mean': 'group-mean',
        oracle: 'oracle',
      },
    },
    { workers, log: (text) => console.error(text) },
  );
  const one = result.distributions.none!;
  const table = ([head, ...rows]: readonly (readonly string[])[]) => [
    ...[`| ${head!.join(' | ')} |`, `|${head!.map(() => '---|').join('')}`],
    ...[...rows.map((cells) => `| ${cells.join(' | ')} |`), ''],
  ];
  const measured = [
    `${conditionsOf(one)}; 95% intervals in brackets.`,
    '',
    ...table(errorRows(one)),
    ...table(rankingRows(one)!),
    ...table(costRows(one, {}).map((cells) => cells.slice(0, -1))),
  ].join('\n');
  const document = 'docs/critics/README.md';
  const [begin, end] = ['<!-- figures -->\n', '<!-- end -->'];
  const [before, rest] = readFileSync(document, 'utf8').split(begin);
  if (rest === undefined) throw new Error(`${document} lacks ${begin}`);
  writeFileSync(document, before + begin + measured + end + rest.split(end)[1]);
  console.log(measured);
} finally {
  await workers.close();
}

/** Trains a critic once. */
async function trained(
  group: WorkerGroup,
  name: string,
  input: Partial<ConfigInput>,
): Promise<void> {
  const run = join(folder, name);
  if (existsSync(join(run, 'checkpoints', 'critic-rl'))) return;
  await rm(run, { recursive: true, force: true });
  console.error(`training ${name}`);
  const config = { ...shared, actor, ...input, seed, folder: run } as ConfigInput;
  await startRun(config, { workers: group }).finished;
}
