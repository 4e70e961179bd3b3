/** `genac doctor --config`: what the config's models will take of their devices, as a table. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfigFile } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { startConfigured } from '../run/configured-workers.ts';
import { modelsOf, type Plan, type PlannedModel, planModels } from '../run/planned-models.ts';

/** Part of a device's memory that is planned with, as in the worker. */
const USABLE = 0.9;

export interface MemoryReport {
  readonly lines: readonly string[];
  /** What will not fit, each with what to change. */
  readonly problems: readonly { readonly what: string; readonly remedy: string }[];
}

export async function memoryReport(file: string): Promise<MemoryReport> {
  const { config, base } = loadConfigFile(file);
  const models = await modelsOf(config, base);
  const names = [...new Set(models.map(({ worker }) => worker))];
  const logs = await mkdtemp(join(tmpdir(), 'genac-doctor-'));
  const group = await startConfigured(config.workers, names, logs);
  try {
    const planned = await planModels(models, (name) => group.get(name));
    return { lines: tableOf(planned), problems: problemsOf(planned, config.workers) };
  } finally {
    await group.close();
    await rm(logs, { recursive: true, force: true });
  }
}

const gib = (bytes: number) => (bytes / 2 ** 30).toFixed(1);
const count = (tokens: number) => Math.floor(tokens).toLocaleString('en');
const total = ({ bytes }: Plan) => Object.values(bytes).reduce((sum, size) => sum + size, 0);

/** Rows of models, in GiB; a sentence in the place of a plan. */
export function tableOf(planned: readonly PlannedModel[]): string[] {
  const head = ['GiB', 'network', 'float32', 'gradients', 'moments', 'served', 'head', 'sum'];
  const rows = [[...head, 'of', 'tokens at once', 'recomputed']];
  const notes: string[] = [];
  for (const { worker, model, plan } of planned) {
    const name = `${worker}: ${model.model}`;
    if (typeof plan === 'string') {
      notes.push(`${name}: not planned, ${plan}`);
      continue;
    }
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

/** Devices that the models of all workers overfill, and models that leave no room for one token. */
export function problemsOf(
  planned: readonly PlannedModel[],
  workers: Config['workers'],
): MemoryReport['problems'] {
  const remedy = 'use lora, offload_optimizer: true, a smaller model, or a device for each worker';
  const problems: { what: string; remedy: string }[] = [];
  const sums = new Map<string, { bytes: number; device: number }>();
  for (const { worker, model, plan } of planned) {
    if (typeof plan === 'string' || plan.device_bytes === null) continue;
    const where = `${plan.device} of devices ${workers[worker]?.devices ?? 'all'}`;
    const sum = sums.get(where) ?? { bytes: 0, device: plan.device_bytes };
    sums.set(where, { ...sum, bytes: sum.bytes + total(plan) });
    if (plan.trained > 0 && plan.tokens_recomputed === 0)
      problems.push({
        what: `${worker}: ${model.model} leaves no room for activations in its part of ${where}`,
        remedy,
      });
  }
  for (const [where, { bytes, device }] of sums)
    if (bytes > USABLE * device)
      problems.push({
        what: `${gib(bytes)} GiB do not fit into ${gib(device)} on ${where}`,
        remedy,
      });
  return problems;
}
