/**
 * The controller's own time: joint training against workers that answer at once, with answers as large as real ones'. 128 problems x 8 responses x 16 states,
 * then 2, 4 and 8 times as many problems; over real sockets (each worker a process) and over the transport without sockets (workers in the same process,
 * whose time is subtracted); then 1,000 small iterations for what memory does.
 *
 *     node --expose-gc --import tsx bench/controller.ts
 *
 * `TIMES=1,2` measures these sizes alone, `ONLY=sockets` or `ONLY='in memory'` one kind of workers.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { Link } from '../src/bridge/link.ts';
import { MemoryTransport } from '../src/bridge/memory-transport.ts';
import type { Transport } from '../src/bridge/transport.ts';
import { bindZmq } from '../src/bridge/zmq-transport.ts';
import type { ConfigInput } from '../src/config.ts';
import { median } from '../src/math/statistics.ts';
import { startRun } from '../src/run.ts';
import type { WorkerGroup } from '../src/workers/local.ts';
import { connectInstant, type InstantWorker, sizes } from './instant-worker.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-controller-'));
const names = ['actor', 'critic'];
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

interface Group {
  readonly group: WorkerGroup;
  /** Milliseconds that workers in this process have taken. */
  workersTime(): number;
  close(): Promise<void>;
}

async function groupOver(transport: Transport, workersTime: () => number): Promise<Group> {
  const link = new Link({ transport, maxMessageBytes: 2 ** 32 });
  const workers = new Map(
    (await Promise.all(names.map((name) => link.expect(name)))).map((w) => [w.name, w]),
  );
  const group: WorkerGroup = {
    all: [...workers.values()],
    endpoints: transport.endpoints,
    logDirectory: scratch,
    get: (name) => workers.get(name)!,
    pid: () => undefined,
    onLost: (listener) => link.onLost(listener),
    close: (drain) => link.close(drain),
  };
  return { group, workersTime, close: () => link.close(100) };
}

async function inMemory(): Promise<Group> {
  const transport = new MemoryTransport();
  const workers: InstantWorker[] = [];
  const group = groupOver(transport, () => workers.reduce((sum, { spent }) => sum + spent, 0));
  workers.push(...names.map((name) => connectInstant(transport, name)));
  return group;
}

async function overSockets(): Promise<Group> {
  const transport = await bindZmq({ maxMessageBytes: 2 ** 32 });
  for (const name of names) {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', here('instant-worker.ts'), transport.endpoints[0]!, name],
      { stdio: 'inherit' },
    );
    process.on('exit', () => child.kill());
  }
  return groupOver(transport, () => 0);
}

const recipe = (folder: string, problems: number, responses: number, iterations: number): ConfigInput => ({
  folder: join(scratch, folder),
  stages: ['joint'],
  task: { use: here('controller-task.ts') },
  critic: { use: 'generative', model: 'critic', baseline: 'batch-mean' },
  actor: { model: 'actor', learning_rate: 1e-6 },
  sampling: { problems, responses, record: 4 },
  credit: { segmentation: { by: 'line', at_most: sizes.segments } },
  icc: { warm_rollouts: 8 },
  gates: { joint: null },
  joint: { iterations },
  evaluation: { every: 0, problems: 4, states: 4 },
  checkpoints: { best: false },
});

interface Figures {
  /** Milliseconds of the controller's processor time, of its wall time, and its event loop's p99 lag; each of one iteration. */
  readonly cpu: number;
  readonly wall: number;
  readonly lag: number;
}

async function measure(
  { group, workersTime }: Group,
  name: string,
  times: number,
  iterations = 5,
): Promise<Figures> {
  const run = startRun(recipe(`${name}-${times}`, 128 * times, 8, iterations + 1), { workers: group });
  const delay = monitorEventLoopDelay({ resolution: 2 });
  const figures: Figures[] = [];
  const usage = () => {
    const { user, system } = process.cpuUsage();
    return { cpu: (user + system) / 1000 - workersTime(), wall: performance.now() - workersTime() };
  };
  let before = usage();
  for await (const event of run) {
    if (event.type !== 'iteration') continue;
    const after = usage();
    const lag = delay.percentile(99) / 1e6;
    // The first one compiles.
    if (event.iteration > 0)
      figures.push({ cpu: after.cpu - before.cpu, wall: after.wall - before.wall, lag });
    before = usage();
    delay.reset();
    delay.enable();
  }
  await run.finished;
  const of = (key: keyof Figures) => median(figures.map((f) => f[key]));
  return { cpu: of('cpu'), wall: of('wall'), lag: of('lag') };
}

async function memory({ group }: Group, iterations: number): Promise<string> {
  const run = startRun(recipe('memory', 4, 4, iterations), { workers: group });
  const heaps = new Map<number, number>();
  for await (const event of run) {
    if (event.type !== 'iteration' || (event.iteration + 1) % (iterations / 5) !== 0) continue;
    globalThis.gc?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    heaps.set(event.iteration + 1, (heapUsed + arrayBuffers) / 2 ** 20);
  }
  await run.finished;
  return [...heaps].map(([iteration, mb]) => `${iteration}: ${mb.toFixed(1)} MB`).join(', ');
}

console.log(
  '| workers | problems x responses x states | controller, ms of processor | of 60 s | wall, ms | p99 lag of the event loop, ms |',
);
console.log('|---|---|---|---|---|---|');
for (const [name, open] of [
  ['sockets', overSockets],
  ['in memory', inMemory],
] as const) {
  if (process.env.ONLY && process.env.ONLY !== name) continue;
  const workers = await open();
  for (const times of (process.env.TIMES ?? '1,2,4,8').split(',').map(Number)) {
    const { cpu, wall, lag } = await measure(workers, name.replace(' ', '-'), times);
    const share = `${((100 * cpu) / 60_000).toFixed(2)}%`;
    console.log(
      `| ${name} | ${128 * times} x 8 x ${sizes.segments} | ${cpu.toFixed(0)} | ${share} | ${wall.toFixed(0)} | ${lag.toFixed(1)} |`,
    );
  }
  if (name === 'in memory' && globalThis.gc)
    console.log(`\nMemory in use after a collection, by iteration: ${await memory(workers, 1000)}`);
  await workers.close();
}
rmSync(scratch, { recursive: true });
process.exit(0);
