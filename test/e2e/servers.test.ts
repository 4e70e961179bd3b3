/** A server that a worker starts, as the engine vllm does, ends whenever the worker does. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { startWorkers, type WorkerGroup } from '../../src/workers/local.ts';
import { echoWorker } from './echo-worker.ts';

let group: WorkerGroup | undefined;
afterEach(async () => group?.close(0));

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** A worker's server: its process, and a child of that. `deaf`: to SIGTERM. */
async function served(deaf: boolean): Promise<{ pids: number[]; folder: string; log: string }> {
  group = await startWorkers({ workers: [echoWorker('a')], log: () => {} });
  const { result } = await group.get('a').request('call', {
    ...{ function: 'test:serve', keywords: { deaf } },
  });
  return result.value as never;
}

function call(name: string, keywords: { text: string }): void {
  group!
    .get('a')
    .request('call', { function: `test:${name}`, keywords })
    .catch(() => {});
}

type Way = () => unknown;
const kill = (signal: NodeJS.Signals): Way => {
  return () => process.kill(group!.pid('a')!, signal);
};

test.each<[string, Way, boolean]>([
  ['SIGKILL', kill('SIGKILL'), false],
  ['SIGKILL, where it is deaf to being asked', kill('SIGKILL'), true],
  ['SIGTERM', kill('SIGTERM'), false],
  ['SIGINT', kill('SIGINT'), false],
  ['an exit in the middle of a request', () => call('die', { text: 'enough' }), false],
  ['an orderly close', () => group!.close(), false],
])('by %s', async (_, end, deaf) => {
  const { pids, folder, log } = await served(deaf);
  expect(log).toBe(join(group!.logDirectory, 'a.m-1.vllm.log'));
  expect(pids.map(isAlive)).toEqual([true, true]);
  expect(existsSync(folder)).toBe(true);
  void end();
  // What is deaf has three seconds.
  await expect.poll(() => pids.map(isAlive), { timeout: 10_000 }).toEqual([false, false]);
  expect(existsSync(folder)).toBe(false);
});
