/** `genac doctor --config`: what the config's models will take of their devices, as a table. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import type { LoadedConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { cardsOf, startConfigured } from '../run/configured-workers.ts';
import { modelsOf, type Plan, type PlannedModel, planModels } from '../run/planned-models.ts';

/** Part of a device's memory that is planned with, as in the worker; of vLLM's own, too. */
const USABLE = 0.9;

export interface MemoryReport {
  readonly lines: readonly string[];
  /** What will not fit, each with what to change. */
  readonly problems: readonly { readonly what: string; readonly remedy: string }[];
  /** Models whose sizes are not known, and why. */
  readonly unknown: readonly string[];
}

/** @param gpu bytes of each GPU of another machine, to plan for; null: for this machine */
export async function memoryReport(
  { config, base }: LoadedConfig,
  gpu: number | null,
): Promise<MemoryReport> {
  const models = await modelsOf(config, base);
  const names = [...new Set(models.map(({ worker }) => worker))];
  const logs = await mkdtemp(join(tmpdir(), 'genac-doctor-'));
  const group = await startConfigured(config.workers, names, logs);
  try {
    const planned = withMachine(
      await planModels(models, (name) => group.get(name), gpu),
      machineBytes(),
    );
    const isGpu = ({ name }: { readonly name: string }) => name.startsWith('cuda');
    const blind = names.filter((name) => !group.get(name).ready.devices.some(isGpu));
    return {
      lines: tableOf(planned),
      problems: [
        ...problemsOf(planned, config.workers),
        ...(gpu === null ? withoutGpu(blind, config.workers) : []),
      ],
      unknown: planned.flatMap(({ worker, model, plan }) =>
        typeof plan === 'string' ? [`${worker}: ${model.model} is not planned: ${plan}`] : [],
      ),
    };
  } finally {
    await group.close();
    await rm(logs, { recursive: true, force: true });
  }
}

/** Of this machine, or of the container that this process is in. */
function machineBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/** Devices without memory of their own, such as a CPU, have the machine's. */
export const withMachine = (planned: readonly PlannedModel[], machine: number): PlannedModel[] =>
  planned.map((one) =>
    typeof one.plan === 'string' || one.plan.device_bytes !== null
      ? one
      : { ...one, plan: { ...one.plan, device_bytes: machine, share: 1 } },
  );

const gib = (bytes: number) => (bytes / 2 ** 30).toFixed(1);
const count = (tokens: number) => Math.floor(tokens).toLocaleString('en');
const total = ({ bytes }: Plan) => Object.values(bytes).reduce((sum, size) => sum + size, 0);

/** Rows of models, in GiB. */
export function tableOf(planned: readonly PlannedModel[]): string[] {
  const head = ['GiB', 'network', 'float32', 'gradients', 'moments', 'served', 'head', 'sum'];
  const rows = [[...head, 'of', 'tokens at once', 'recomputed']];
  const notes: string[] = [];
  for (const { worker, model, plan } of planned) {
    if (typeof plan === 'string') continue;
    const name = `${worker}: ${model.model}`;
    const { network, masters, gradients, moments, served, logits } = plan.bytes;
    const sizes = [network, masters, gradients, moments, served, logits, total(plan)].map(gib);
    const { device_bytes: device, share, tokens, tokens_recomputed: again } = plan;
    const room = device === null ? '-' : `${gib(device * share)} on ${plan.device}`;
    const fits = [tokens, again].map((number) => (number === null ? '-' : count(number)));
    rows.push([name, ...sizes, room, ...fits]);
    notes.push(
      `${name}: ${count(plan.weights)} weights, ${count(plan.trained)} trained, ${plan.dtype}; ` +
        `a token takes ${kib(plan.kept_per_token)} KiB in training ` +
        `(${kib(plan.recomputed_per_token)} with gradient_checkpointing), ` +
        `${kib(plan.cache_per_token)} in sampling`,
    );
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const aligned = rows.map((row) =>
    row
      .map((cell, k) => (k === 0 ? cell.padEnd(widths[k]!) : cell.padStart(widths[k]!)))
      .join('  '),
  );
  return [...(rows.length > 1 ? aligned : []), ...notes];
}

const kib = (bytes: number) => (bytes / 2 ** 10).toFixed(0);

const onGpu = 'use lora, offload_optimizer: true, a smaller model, or a device for each worker';
const onCpu = 'use lora, a smaller model, or a machine with more memory';

/** Workers that see no GPU, though their devices name one. `-1` names none. */
export const withoutGpu = (
  blind: readonly string[],
  workers: Config['workers'],
): MemoryReport['problems'] =>
  blind.flatMap((worker) => {
    const { devices } = workers[worker]!;
    if (devices === null || devices.trim().startsWith('-')) return [];
    return {
      what: `workers.${worker}.devices: the worker finds no GPU "${devices}"`,
      remedy: 'leave it out, or plan for another machine: --memory GIB',
    };
  });

/** Devices that the models of all workers overfill, and models that leave no room for one token. */
export function problemsOf(
  planned: readonly PlannedModel[],
  workers: Config['workers'],
): MemoryReport['problems'] {
  const problems: { what: string; remedy: string }[] = [];
  const sums = new Map<string, { bytes: number; device: number; by: Set<string> }>();
  for (const { worker, model, plan } of planned) {
    if (typeof plan === 'string' || plan.device_bytes === null) continue;
    const { device_bytes: device } = plan;
    const { devices } = workers[worker]!;
    const isGpu = plan.device.startsWith('cuda');
    const cards = cardsOf(devices);
    const place = (k: number) => (isGpu ? `GPU ${cards[k] ?? k}` : `this machine (${plan.device})`);
    for (const [k, bytes] of bytesOf(model, plan, device).entries()) {
      const sum = sums.get(place(k)) ?? { bytes: 0, device, by: new Set() };
      sums.set(place(k), { ...sum, bytes: sum.bytes + bytes, by: sum.by.add(worker) });
    }
    if (plan.trained > 0 && plan.tokens_recomputed === 0)
      problems.push({
        what: `${worker}: ${model.model} leaves no room for activations in its part of ${place(0)}`,
        remedy: onGpu,
      });
  }
  for (const [where, { bytes, device, by }] of sums)
    if (bytes > USABLE * device)
      problems.push({
        what:
          `${gib(bytes)} GiB of ${[...by].join(', ')} do not fit into ${gib(device)} ` +
          `on ${where}`,
        remedy: where.startsWith('GPU') ? onGpu : onCpu,
      });
  return problems;
}

/** Bytes of a model on each of its worker's GPUs: a vLLM may take as much of several. */
function bytesOf({ loading }: PlannedModel['model'], plan: Plan, device: number): number[] {
  const options = loading.engine_options as {
    readonly [name in 'tensor_parallel_size' | 'pipeline_parallel_size']?: number;
  } & { readonly transfer?: string; readonly url?: string; gpu_memory_utilization?: number };
  const { tensor_parallel_size: wide = 1, pipeline_parallel_size: deep = 1, transfer } = options;
  if (loading.engine !== 'vllm' || options.url !== undefined) return [total(plan)];
  const isApart = transfer === 'nccl'; // on other GPUs than the model's
  const each = isApart ? (options.gpu_memory_utilization ?? USABLE) * device : plan.bytes.served;
  return [total(plan), ...new Array<number>(wide * deep - (isApart ? 0 : 1)).fill(each)];
}
