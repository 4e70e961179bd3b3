/**
 * The models that the miniature brings: `blank` (random weights) and `base-actor`, trained on
 * demonstrations with slips and misconceptions. Slips alone would leave greedy decoding perfect,
 * and reinforcement would only sharpen sampling; misconceptions are what it must mend.
 */
import { join } from 'node:path';
import {
  deriveSeed,
  type LanguageModel,
  learningRate,
  type ModelTools,
  Random,
  UserError,
  WorkerModel,
} from '../../../src/plugin-api.ts';
import { continueChain, MISCONCEPTION, successRate, syntheticTable } from './actors.ts';
import { chainPrompt, claimsText, drawChain } from './chains.ts';
import { type ModelSize, miniatureSize, writeModelFolder } from './model-folder.ts';

const STEPS = 500;
const BATCH = 96;
const schedule = { peak: 4e-3, decay: 'cosine', warmup: 30, min_lr_ratio: 0.05 } as const;

/** The table that the demonstrations are drawn from: success about 0.17 on chains of 8 steps. */
export function baseTable(seed: number, steps: number) {
  const random = new Random(deriveSeed(seed, 'miniature/base-actor'));
  const chains = Array.from({ length: 300 }, () => drawChain(random, steps, 1));
  // Errors per step so that base success is alike on every seed: misconceptions are added until it
  // falls to 0.17.
  for (let misconceptions = 1; ; misconceptions++) {
    const mix = { slip: 0.03, strength: MISCONCEPTION, misconceptions };
    const table = syntheticTable(new Random(deriveSeed(seed, 'miniature/base-table')), mix);
    if (misconceptions === 100 || successRate(table, chains) <= 0.17) return table;
  }
}

/** Of `blank`, or of `blank-128x3`: a width of 128, 3 layers; null: it is no such name. */
export function blankSize(name: string): ModelSize | null {
  if (name === 'blank') return miniatureSize;
  const [, width, layers] = (/^blank-(\d{1,4})x(\d{1,2})$/.exec(name) ?? []).map(Number);
  if (!width || !layers || width % 8 !== 0) return null;
  return { ...miniatureSize, width, layers, mlp: 2.5 * width };
}

export async function makeModel(
  name: string,
  folder: string,
  tools: ModelTools,
  steps: number,
): Promise<void> {
  const size = name === 'base-actor' ? miniatureSize : blankSize(name);
  if (size === null) {
    throw new UserError(
      'the task "miniature" makes the models "task:blank", "task:blank-WIDTHxLAYERS" (such as ' +
        `"task:blank-128x3"; the width a multiple of 8) and "task:base-actor", not "task:${name}"`,
    );
  }
  const source = join(folder, 'source');
  await writeModelFolder(source, size, Math.max(8, steps));
  const model = await WorkerModel.load(tools.worker, `miniature/${name}`, {
    source,
    kind: 'causal',
    initialization: 'random',
    seed: deriveSeed(tools.seed, `miniature/${name}`)[0],
    device: 'auto',
    dtype: 'float32',
    lora: null,
    optimizer: name !== 'base-actor' ? null : { betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.01 },
  });
  if (name === 'base-actor') await demonstrate(model, tools, steps);
  await model.save(folder, false);
}

async function demonstrate(
  model: LanguageModel,
  { seed, progress, signal }: ModelTools,
  steps: number,
): Promise<void> {
  const table = baseTable(seed, steps);
  for (let step = 0; step < STEPS; step++) {
    signal.throwIfAborted();
    const random = new Random(deriveSeed(seed, 'miniature/demonstrations', step));
    const chains = Array.from({ length: BATCH }, () => drawChain(random, steps, 1));
    const sequences = await model.tokenize(
      chains.map(chainPrompt),
      chains.map((chain) => `${claimsText(continueChain(table, chain, [], random))} .`),
    );
    const tokens = sequences.reduce((sum, s) => sum + s.completionIds.length, 0);
    const stream = { kind: 'ce', coefficient: 1 } as const;
    const statistics = await model.accumulate(
      sequences,
      null,
      [{ stream, tensors: { weights: sequences.map(() => 1) } }],
      tokens,
    );
    await model.optimize(learningRate(schedule, step, STEPS), 1);
    if (step % 10 === 9) progress((step + 1) / STEPS, `loss ${statistics.loss!.toFixed(3)}`);
  }
}
