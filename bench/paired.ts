/**
 * Joint updating against a frozen critic on the *same* actor: the critic that stage 3 left and the
 * one that stage 2 left, both asked about states of the actor that stage 3 left. Two runs end with
 * two actors, whose states differ in difficulty; this compares like with like.
 *
 *     for s in 0 1 2; do npx genac train examples/miniature.yaml --seed $s --folder runs/paired-$s;
 *     done node --import tsx bench/paired.ts runs/paired-0 runs/paired-1 runs/paired-2
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { startRun } from '../src/run/run.ts';
import { RunFolder } from '../src/run-folder/folder.ts';
import { metric, readMetrics } from '../src/run-folder/read.ts';

const { positionals } = parseArgs({ allowPositionals: true });
console.log(
  '| run | critic | MSE, 2048 states | bias | success of the actor, 1024 problems ' +
    '|\n|---|---|---|---|---|',
);
for (const path of positionals) {
  for (const [stage, name] of [
    ['joint', 'joint'],
    ['critic-rl', 'frozen'],
  ] as const) {
    const line = await measure(resolve(path), stage);
    const figure = (of: string, digits: number) => metric(line, of)?.toFixed(digits);
    console.log(
      `| ${path} | ${name} | ${figure('critic/heldout_mse', 4)} | ` +
        `${figure('critic/heldout_bias', 3)} | ${figure('evaluation/success', 3)} |`,
    );
  }
}

/** One evaluation before the first iteration of a run of one iteration. */
async function measure(path: string, stage: 'joint' | 'critic-rl') {
  const { config } = await RunFolder.read(path);
  const { critic_sft: _sft, critic_rl: _rl, joint: _joint, ...rest } = config;
  const model = (of: string, from: string) => join(path, 'checkpoints', from, of);
  const folder = join(mkdtempSync(join(tmpdir(), 'genac-paired-')), 'run');
  await startRun({
    ...rest,
    folder,
    stages: ['joint'],
    actor: { ...rest.actor!, model: model('actor', 'joint') },
    critic: { ...(rest.critic as { use: string }), model: model('critic', stage) },
    sampling: { ...rest.sampling, batch_size: 1, num_generations: 2 },
    gates: { ...rest.gates, joint: null },
    evaluation: { ...rest.evaluation, prompts: 1024, states: 2048 },
    joint: { steps: 1, critic: 'frozen' },
  }).finished;
  const line = readMetrics(folder).find(({ type }) => type === 'evaluation');
  rmSync(folder, { recursive: true });
  return line;
}
