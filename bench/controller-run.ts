/** Joint training against workers that answer at once, and what the controller needs for it. */
import { spawn } from 'node:child_process';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { Link } from '../src/bridge/link.ts';
import { MemoryTransport } from '../src/bridge/memory-transport.ts';
import type { Transport } from '../src/bridge/transport.ts';
import { bindZmq } from '../src/bridge/zmq-transport.ts';
import type { ConfigInput } from '../src/config/schema.ts';
import { median } from '../src/math/statistics.ts';
import { startRun } from '../src/run/run.ts';
import type { WorkerGroup } from '../src/workers/local.ts';
import { connectInstant, type InstantWorker, sizes } from './instant-worker.ts';

const names = ['actor', 'critic'];
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

export interface InstantGroup {
  readonly group: WorkerGroup;
  /** Milliseconds that workers in this process have taken. */
  workersTime(): number;
  close(): Promise<void>;
}

async function groupOver(
  transport: Transport,
  logDirectory: string,
  workersTime: () => number,
): Promise<InstantGroup> {
  const link = new Link({ transport, maxMessageBytes: 2 ** 32 });
  const workers = new Map(
    (await Promise.all(names.map((name) => link.expect(name)))).map((w) => [w.name, w]),
  );
  const group: WorkerGroup = {
    all: [...workers.values()],
    endpoints: transport.endpoints,
    logDirectory,
    get: (name) => workers.get(name)!,
    pid: () => undefined,
    onLost: (listener) => link.onLost(listener),
    close: (drain) => link.close(drain),
  };
  return { group, workersTime, close: () => link.close(100) };
}

/** Workers in this process, over the transport without sockets. */
export async function inMemory(logDirectory: string): Promise<InstantGroup> {
  const transport = new MemoryTransport();
  const workers: InstantWorker[] = [];
  const spent = () => workers.reduce((sum, worker) => sum + worker.spent, 0);
  const group = groupOver(transport, logDirectory, spent);
  workers.push(...names.map((name) => connectInstant(transport, name)));
  return group;
}

/** Each worker a process, over real sockets. */
export async function overSockets(logDirectory: string): Promise<InstantGroup> {
  const transport = await bindZmq({ maxMessageBytes: 2 ** 32 });
  for (const name of names) {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', here('instant-worker.ts'), transport.endpoints[0]!, name],
      { stdio: 'inherit' },
    );
    process.on('exit', () => child.kill());
  }
  return groupOver(transport, logDirectory, () => 0);
}

export interface Size {
  readonly problems: number;
  readonly responses: number;
}

/** States of one iteration: s_0 once for its group, the others once for each response. */
export const statesOf = ({ problems, responses }: Size): number =>
  problems * (1 + responses * (sizes.segments - 1));

export const recipe = (folder: string, size: Size, iterations: number): ConfigInput => ({
  folder,
  stages: ['joint'],
  task: { use: here('controller-task.ts') },
  critic: { use: 'generative', model: 'critic', baseline: 'batch-mean' },
  actor: { model: 'actor', learning_rate: 1e-6 },
  sampling: { ...size, max_new_tokens: sizes.response, record: 4 },
  credit: { segmentation: { by: 'sentence', max_segments: sizes.segments } },
  icc: { warm_rollouts: 8 },
  gates: { joint: null, explained_variance: false },
  joint: { steps: iterations },
  evaluation: { every: 0, prompts: 4, states: 4 },
  checkpoints: { best: false },
});

export interface Figures {
  /** Milliseconds of the controller's processor time, and of its wall time, of one iteration. */
  readonly cpu: number;
  readonly wall: number;
  /** Milliseconds: p99 and longest delay of the event loop in one iteration. */
  readonly lag: number;
  readonly longest: number;
  /** MB: the most that the process held in all iterations; the JavaScript heap's part of it. */
  readonly resident: number;
  readonly heap: number;
}

/**
 * Returns medians over the iterations, the first left out where there are more: it compiles.
 *
 * @throws Error where an iteration had another number of states, or did not update the actor
 */
export async function measure(
  { group, workersTime }: InstantGroup,
  folder: string,
  size: Size,
  iterations: number,
): Promise<Figures> {
  const run = startRun(recipe(folder, size, iterations), { workers: group });
  const delay = monitorEventLoopDelay({ resolution: 2 });
  const figures: Omit<Figures, 'resident' | 'heap'>[] = [];
  let [resident, heap] = [0, 0];
  const watch = setInterval(() => {
    const used = process.memoryUsage();
    resident = Math.max(resident, used.rss / 2 ** 20);
    heap = Math.max(heap, used.heapUsed / 2 ** 20);
  }, 100);
  const usage = () => {
    const { user, system } = process.cpuUsage();
    return { cpu: (user + system) / 1000 - workersTime(), wall: performance.now() - workersTime() };
  };
  let before = usage();
  delay.enable();
  for await (const event of run) {
    if (event.type !== 'iteration') continue;
    const after = usage();
    const states = event.metrics['critic/states'];
    if (states !== statesOf(size))
      throw new Error(`an iteration had ${states} states instead of ${statesOf(size)}`);
    if (event.metrics['actor/steps'] !== 1)
      throw new Error('an iteration did not update the actor');
    if (event.iteration > 0 || iterations === 1)
      figures.push({
        cpu: after.cpu - before.cpu,
        wall: after.wall - before.wall,
        lag: delay.percentile(99) / 1e6,
        longest: delay.max / 1e6,
      });
    before = usage();
    delay.reset();
  }
  await run.finished;
  clearInterval(watch);
  delay.disable();
  const of = (key: keyof (typeof figures)[number]) => median(figures.map((f) => f[key]));
  return {
    cpu: of('cpu'),
    wall: of('wall'),
    lag: of('lag'),
    longest: of('longest'),
    resident,
    heap,
  };
}

/** Memory in use after a collection, in MB, at five iterations of a run of small ones. */
export async function memoryOver(
  { group }: InstantGroup,
  folder: string,
  iterations: number,
): Promise<Map<number, number>> {
  const size = { problems: 4, responses: 4 };
  const run = startRun(recipe(folder, size, iterations), { workers: group });
  const used = new Map<number, number>();
  for await (const event of run) {
    if (event.type !== 'iteration' || (event.iteration + 1) % (iterations / 5) !== 0) continue;
    globalThis.gc?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    used.set(event.iteration + 1, (heapUsed + arrayBuffers) / 2 ** 20);
  }
  await run.finished;
  return used;
}
