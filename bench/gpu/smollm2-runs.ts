/** The runs of bench/gpu/smollm2.ts, as configs of one recipe. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import type { Config, ConfigInput } from '../../src/config/schema.ts';

export interface Comparison {
  readonly family: string;
  readonly seed: number;
  /** Of all of its runs. */
  readonly folder: string;
  /** Folder of the actor's and the critic's weights. */
  readonly model: string;
  /** Folder of `bench/gpu/arithmetic.py`. */
  readonly problems: string;
  readonly tiny: boolean;
}

/** Sizes for a CPU and a model of random weights: every part runs, and no figure means anything. */
const tinySizes = (recipe: Config): Partial<ConfigInput> => ({
  sampling: { ...recipe.sampling, batch_size: 2, num_generations: 2, max_new_tokens: 12 },
  critic: { ...(recipe.critic as { use: string }), max_new_tokens: 12 },
  icc: { ...recipe.icc, warm_rollouts: 4 },
  critic_sft: {
    ...recipe.critic_sft,
    batch: 4,
    steps: 2,
    cooldown: 0,
    warmup: 0,
    evaluate_every: 2,
  },
  critic_rl: { ...recipe.critic_rl, steps: 1, states: 4, warmup: 0, evaluate_every: 1 },
  joint: { ...recipe.joint, steps: 2 },
  gates: { joint: null },
  evaluation: { ...recipe.evaluation, every: 1, prompts: 4, states: 4, continuations: 2 },
});

/** Of the actor's learning rate: the group mean has a run with each. */
export const factors: readonly number[] = [1, 2.5];

/** The worker of the group mean's runs, which run beside the critic's first stages. */
export const beside = 'beside';

/** Where the oracle's traces are written. */
export const tracesIn = (folder: string): string => join(folder, 'traces.jsonl');

/** Traces of the rule-based oracle for the actor of a config. */
export async function makeTraces(config: object, folder: string, problems: number): Promise<void> {
  const path = join(folder, 'traces.yaml');
  writeFileSync(path, stringify(config));
  const script = ['--import', 'tsx', 'examples/smollm2/make-traces.ts', '--config', path];
  const sizes = ['--problems', String(problems), '--out', tracesIn(folder)];
  await promisify(execFile)(process.execPath, [...script, ...sizes]);
}

export function runsOf(
  recipe: Config,
  { family, seed, folder, model, problems, tiny }: Comparison,
) {
  const base = {
    ...{ ...recipe, ...(tiny ? tinySizes(recipe) : {}), seed, folder },
    task: { use: resolve('bench/gpu/arithmetic.ts'), family, folder: problems },
    actor: { ...recipe.actor!, model },
  };
  const { critic_sft, critic_rl, joint, stages: _, gates, ...rest } = base;
  const critic = { ...(base.critic as { use: string }), model };
  const runOf = (name: string, changes: Partial<ConfigInput>) =>
    ({ ...rest, ...changes, folder: join(folder, name) }) as ConfigInput;
  const after = (name: string, stage: string) => join(folder, name, 'checkpoints', stage);
  const actorAt = (factor: number, worker: string) => ({
    ...rest.actor,
    ...{ worker, learning_rate: factor * rest.actor.learning_rate },
  });
  const groupMean = (factor: number) =>
    runOf(`group-mean-${factor}`, {
      ...{ stages: ['joint'], critic: 'group-mean', gates: { joint: null } },
      ...{ actor: actorAt(factor, beside), workers: { [beside]: {} } },
      credit: { ...rest.credit, lambda: 1, scale: 'group-std' },
      joint: { steps: Math.ceil(1.5 * joint!.steps!), schedule: 'synchronous' },
    });
  return {
    /** For examples/smollm2/make-traces.ts. */
    traces: { ...base, critic },
    runs: {
      imitation: runOf('critic-sft', {
        ...{ stages: ['critic-sft'], critic },
        critic_sft: { ...critic_sft, traces: tracesIn(folder) },
      }),
      pretraining: runOf('critic-rl', {
        ...{ stages: ['critic-rl'], critic, critic_rl },
        start_from: after('critic-sft', 'critic-sft'),
      }),
      /** @param factor of the actor's learning rate */
      joint: (factor: number) =>
        runOf('genac', {
          ...{ stages: ['joint'], critic, joint, gates },
          actor: actorAt(factor, rest.actor.worker),
          start_from: after('critic-rl', 'critic-rl'),
        }),
      groupMean,
    },
  };
}
