/** Where parts work: two lanes of one core each, or one with the workers of a config. */
import { join } from 'node:path';
import { startConfigured } from '../run/configured-workers.ts';
import { startWorkers, type WorkerGroup } from '../workers/local.ts';
import { pythonWorkerSpec } from '../workers/python-functions.ts';
import { workersOf } from './configs.ts';
import type { Lane } from './parts.ts';
import type { Setup } from './setup.ts';

export interface Lanes {
  readonly lanes: readonly Lane[];
  close(): Promise<void>;
}

/** @param python whether a task or a reward calls Python functions */
export async function startLanes(setup: Setup, python: boolean, logs: string): Promise<Lanes> {
  if (setup.given && setup.size.name !== 'tiny') return freshLane(setup, logs);
  const groups = setup.given
    ? [await startGiven(setup, logs)]
    : await Promise.all(
        ['lane-1', 'lane-2'].map((lane) => startEmbedded(python, join(logs, lane))),
      );
  return {
    lanes: groups.map((group) => ({ take: async () => group, give: async () => {} })),
    close: async () => void (await Promise.all(groups.map((group) => group.close()))),
  };
}

const startEmbedded = (python: boolean, logDirectory: string) =>
  startWorkers({
    workers: [{ name: 'worker', threads: 1 }, ...(python ? [pythonWorkerSpec] : [])],
    logDirectory,
  });

function startGiven(setup: Setup, logs: string): Promise<WorkerGroup> {
  const names = Object.keys(workersOf(setup));
  return startConfigured(setup.recipe.workers, names, join(logs, 'lane-1'));
}

/** Large models of one part leave a device before those of the next are loaded. */
function freshLane(setup: Setup, logs: string): Lanes {
  const take = () => startGiven(setup, logs);
  return { lanes: [{ take, give: (workers) => workers.close() }], close: async () => {} };
}
