/** What a config's models will take of their devices, before any of them is loaded. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';
import type { Arguments, Result } from '../bridge/operations.ts';
import type { Worker } from '../bridge/worker.ts';
import { createCritic } from '../checked-critic.ts';
import type { Config } from '../config/schema.ts';
import { criticEnvironment } from '../extensions/critic-environment.ts';
import { loadCritic, type PluginChoice } from '../extensions/find-plugin.ts';
import { paperFormat } from '../text/critic-prompt.ts';
import { loadActor } from './load-models.ts';

const size = z.number().nonnegative();

/** What `genac_bridge.planner:plan` returns; sizes are bytes. */
const planSchema = z.object({
  weights: size,
  trained: size,
  dtype: z.string(),
  bytes: z.object({
    network: size,
    masters: size,
    gradients: size,
    moments: size,
    served: size,
    logits: size,
  }),
  kept_per_token: size,
  recomputed_per_token: size,
  cache_per_token: size,
  device: z.string(),
  /** null: its memory is not planned. */
  device_bytes: size.nullable(),
  share: size,
  tokens: size.nullable(),
  tokens_recomputed: size.nullable(),
});

const reasonSchema = z.object({ reason: z.string() });

export type Plan = z.infer<typeof planSchema>;

export interface PlannedModel {
  readonly worker: string;
  readonly model: Arguments<'load_model'>;
  /** A sentence: why there is no plan. */
  readonly plan: Plan | string;
}

type Loading = Pick<PlannedModel, 'worker' | 'model'>;

/** The models that a run of this config loads, in order. Nothing is loaded. */
export async function modelsOf(config: Config, base: string): Promise<Loading[]> {
  const found: Loading[] = [];
  const answer: Partial<Result<'load_model'>> = { has_chat_template: true, context_length: null };
  const recorder = (worker: string) =>
    ({
      name: worker,
      request: async (_: string, model: Arguments<'load_model'>) => {
        found.push({ worker, model });
        return { result: answer, tensors: {} };
      },
    }) as unknown as Worker;
  const sourceOf = async (model: string) => (existsSync(resolve(model)) ? resolve(model) : model);
  const tools = { workers: { get: recorder }, log: () => {}, sourceOf };
  await loadActor({ ...config, start: null }, tools);
  const { plugin, options } = await loadCritic(config.critic as PluginChoice, base);
  const environment = criticEnvironment({
    ...{ base, seed: config.seed, format: paperFormat, runFolder: null, log: () => {}, sourceOf },
    ...{ signal: new AbortController().signal, worker: recorder },
  });
  if (!plugin.continues) await createCritic(plugin, options, environment);
  return found;
}

/**
 * Asks each worker for the plans of its models.
 *
 * @param gpu bytes of a GPU that computes in bfloat16, to plan for; null: the worker's own device
 */
export async function planModels(
  models: readonly Loading[],
  workerOf: (name: string) => Worker,
  gpu: number | null = null,
): Promise<PlannedModel[]> {
  const asked = ({ model }: Loading) =>
    gpu !== null && model.dtype === 'auto' ? { ...model, dtype: 'bfloat16' } : model;
  const planned: PlannedModel[] = [];
  for (const worker of new Set(models.map((entry) => entry.worker))) {
    const own = models.filter((entry) => entry.worker === worker);
    const there = own.filter(({ model }) => !model.source.startsWith('task:'));
    const call = {
      function: 'genac_bridge.planner:plan',
      keywords: { models: there.map(asked) as never, device_bytes: gpu },
    };
    const { result } = await workerOf(worker).request('call', call);
    const plans = z.array(z.union([planSchema, reasonSchema])).parse(result.value);
    for (const entry of own) {
      const found = plans[there.indexOf(entry)] ?? { reason: 'the task makes it for a run' };
      const device = gpu === null ? {} : { device: 'cuda:0' };
      planned.push({ ...entry, plan: 'reason' in found ? found.reason : { ...found, ...device } });
    }
  }
  return planned;
}
