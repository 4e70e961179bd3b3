/**
 * The models that an embedded task brings: `blank` (random weights) and `base-actor`, trained on
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
import { type Chain, type ChainLength, chainsOf, type Machine } from './machine.ts';
import { type ModelSize, vocabulary, writeModelFolder } from './model-folder.ts';
import { tablesOf } from './tables.ts';

const BATCH = 96;
/** Of shorter chains there are more demonstrations, so that as many steps are seen. */
const LEAST_STEPS = 3;
const schedule = { peak: 4e-3, decay: 'cosine', warmup: 30, min_lr_ratio: 0.05 } as const;

/** How a task makes its models. */
export interface Making {
  readonly blank: ModelSize;
  readonly actor: ModelSize;
  /** Optimizer steps of the base actor, of 96 demonstrations each; more for chains of 2 steps. */
  readonly demonstrations: number;
  /**
   * Share of them that comes first and has one operation a step; absent: none. Two at once are
   * learned where each is known alone, and not within as many steps from the start.
   */
  readonly alone?: number;
  /** The prompt of a chain; absent: `chainPrompt`. */
  readonly promptOf?: (chain: Chain) => string;
}

/** Of `blank`, or of `blank-128x3`: a width of 128, 3 layers; null: it is no such name. */
function blankSize(name: string, size: ModelSize): ModelSize | null {
  if (name === 'blank') return size;
  const [, width, layers] = (/^blank-(\d{1,4})x(\d{1,2})$/.exec(name) ?? []).map(Number);
  if (!width || !layers || width % 8 !== 0) return null;
  return { ...size, width, layers, mlp: 2.5 * width };
}

export async function makeModel(
  machine: Machine,
  making: Making,
  name: string,
  folder: string,
  tools: ModelTools,
  length: ChainLength,
): Promise<void> {
  const size = name === 'base-actor' ? making.actor : blankSize(name, making.blank);
  if (size === null) {
    throw new UserError(
      `the task "${machine.name}" makes the models "task:blank", "task:blank-WIDTHxLAYERS" (such ` +
        `as "task:blank-128x3"; the width a multiple of 8) and "task:base-actor", not "task:${name}"`,
    );
  }
  const source = join(folder, 'source');
  const words = vocabulary(machine, Math.max(8, length.steps));
  await writeModelFolder(source, size, words, machine.spellings);
  const model = await WorkerModel.load(tools.worker, `${machine.name}/${name}`, {
    source,
    kind: 'causal',
    initialization: 'random',
    seed: deriveSeed(tools.seed, `${machine.name}/${name}`)[0],
    device: 'auto',
    dtype: 'float32',
    lora: null,
    optimizer: name !== 'base-actor' ? null : { betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.01 },
  });
  if (name === 'base-actor') await demonstrate(machine, making, model, tools, length);
  await model.save(folder, false);
}

async function demonstrate(
  machine: Machine,
  { demonstrations, alone = 0, promptOf }: Making,
  model: LanguageModel,
  { seed, progress, signal, effort = 1 }: ModelTools,
  length: ChainLength,
): Promise<void> {
  const all = Math.ceil(effort * demonstrations * Math.max(1, LEAST_STEPS / length.steps));
  const { drawChain, chainPrompt, claimsText } = chainsOf(machine);
  const { baseTable, continueChain } = tablesOf(machine);
  const table = baseTable(seed, length);
  for (let step = 0; step < all; step++) {
    signal.throwIfAborted();
    const random = new Random(deriveSeed(seed, `${machine.name}/demonstrations`, step));
    const drawn = step < alone * all ? { steps: length.steps } : length;
    const chains = Array.from({ length: BATCH }, () => drawChain(random, drawn));
    const sequences = await model.tokenize(
      chains.map(promptOf ?? chainPrompt),
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
    await model.optimize(learningRate(schedule, step, all), 1);
    if (step % 10 === 9) progress((step + 1) / all, `loss ${statistics.loss!.toFixed(3)}`);
  }
}
