/** The workers that a config asks for. */

import { ConfigError } from '../config/error.ts';
import type { Config } from '../config/schema.ts';
import { type ChosenCritic, withParts } from '../extensions/critic-parts.ts';
import { startWorkers, type WorkerGroup } from '../workers/local.ts';
import { pythonWorkerName, pythonWorkerSpec } from '../workers/python-functions.ts';

/**
 * Names of the workers that the actor and the critic ask for, and `python` where functions are
 * called. @throws ConfigError
 */
export function workersOf(
  { actor, workers }: Pick<Config, 'actor' | 'workers'>,
  critics: readonly string[],
  usesPython: boolean,
): string[] {
  const python = usesPython ? pythonWorkerName : null;
  const wanted = [...new Set([actor?.worker, ...critics, python])].filter(
    (name) => typeof name === 'string',
  );
  const missing = wanted.filter((name) => !(name in workers));
  const names = Object.keys(workers).join(', ');
  if (missing.length > 0)
    throw new ConfigError(missing.map((name) => `workers: has no "${name}" (it has ${names})`));
  // `actor`, `critic` and `python` are there by default; any other was asked for.
  if ([actor?.worker, ...critics].includes(pythonWorkerName)) {
    throw new ConfigError([
      `workers: "${pythonWorkerName}" serves functions and holds no models; name another`,
    ]);
  }
  const idle = Object.keys(workers).filter(
    (name) => !wanted.includes(name) && !['actor', 'critic', pythonWorkerName].includes(name),
  );
  if (idle.length > 0)
    throw new ConfigError(
      idle.map((name) => `workers.${name}: has no effect, for no model names it`),
    );
  return wanted;
}

/**
 * Workers of the models that a critic's options and those of its parts name.
 *
 * @throws ConfigError for options of a part that are not valid
 */
export async function workersOfCritic(critic: ChosenCritic, base: string): Promise<string[]> {
  const critics = await withParts(critic, base);
  return critics.flatMap(({ plugin: { models }, options }) =>
    (models?.(options) ?? []).map(({ worker }) => worker),
  );
}

/**
 * The GPUs that a worker sees, by their names in CUDA_VISIBLE_DEVICES, the one that it computes on
 * first. As in CUDA, the list ends where a name is none.
 *
 * @param devices of the config; null: those of this process, or all, of which the first is `0`
 */
export function cardsOf(devices: string | null): string[] {
  const names = (devices ?? (process.env.CUDA_VISIBLE_DEVICES || '0')).split(',');
  const cards = names.map((name) => name.trim().toLowerCase());
  const end = cards.findIndex((card) => !/^(\d+$|gpu-|mig-)/.test(card));
  return cards
    .slice(0, end < 0 ? undefined : end)
    .map((card) => (/^\d+$/.test(card) ? String(Number(card)) : card));
}

/**
 * Starts workers as the config says. Each is told its part of its GPU's memory: those that use the
 * same GPU share it equally. A worker uses the first that it sees, and all that its `devices` name,
 * for they are named for a vLLM that uses several.
 *
 * @param strangers processes beside these workers that use their devices: a host that trains
 */
export function startConfigured(
  workers: Config['workers'],
  names: readonly string[],
  logDirectory: string,
  strangers = 0,
): Promise<WorkerGroup> {
  const used = (devices: string | null) =>
    cardsOf(devices).slice(0, devices === null ? 1 : undefined);
  const holders = names.filter((name) => name !== pythonWorkerName);
  const usedBy = holders.map((name) => used(workers[name]!.devices));
  const sharing = (devices: string | null) =>
    Math.max(
      1, // without a GPU
      ...used(devices).map((card) => usedBy.filter((cards) => cards.includes(card)).length),
    );
  return startWorkers({
    workers: names.map((name) => {
      const { devices, threads } = workers[name]!;
      const share = String(1 / (sharing(devices) + strangers));
      const kind =
        name === pythonWorkerName ? pythonWorkerSpec : { name, env: { GENAC_MEMORY_SHARE: share } };
      return {
        ...kind,
        ...(devices !== null && { device: devices }),
        ...(threads !== null && { threads }),
      };
    }),
    logDirectory,
  });
}
