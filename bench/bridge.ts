/**
 * What the bridge costs: the real client and a real Python worker against bare sockets (zeromq.js
 * ROUTER, pyzmq DEALER) that carry the same bytes, both over ipc. They take turns within one run,
 * so that what else the machine does falls on all. A third, `packed`, is the bare sockets again,
 * but the controller packs a header with msgpack before each exchange and unpacks one after it, as
 * any protocol does: it tells what V8's garbage collector takes as soon as a program allocates at
 * all. Nobody reads the payload, on either side.
 *
 *     node --import tsx bench/bridge.ts
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Packr } from 'msgpackr';
import { Router } from 'zeromq';
import { tensor } from '../src/bridge/tensor.ts';
import type { Worker } from '../src/bridge/worker.ts';
import { startWorkers } from '../src/workers/local.ts';
import { findPython, pythonBridge } from '../src/workers/python.ts';

interface Case {
  readonly name: string;
  /** Most times the bare one that is accepted. */
  readonly goal: number;
  /** Exchanges of one turn. */
  readonly exchanges: number;
  readonly bare: () => Promise<unknown>;
  readonly bridge: () => Promise<unknown>;
}

const TURNS = 25;
const ids = new Int32Array(256 * 2048).map((_, index) => index % 50_000);
const logprobs = new Float32Array(256 * 2048).fill(-1.5);

async function startBare(): Promise<{
  exchange: (frames: (string | Buffer)[]) => Promise<unknown>;
  close: () => void;
}> {
  const folder = mkdtempSync(join(tmpdir(), 'genac-bench-'));
  const endpoint = `ipc://${join(folder, 'socket')}`;
  const router = new Router({ mandatory: true, sendTimeout: 0, linger: 0 });
  await router.bind(endpoint);
  const peer = spawn(
    findPython(),
    [fileURLToPath(new URL('./bridge_peer.py', import.meta.url)), endpoint],
    {
      stdio: 'inherit',
    },
  );
  process.on('exit', () => peer.kill());
  await router.receive();
  return {
    exchange: async (frames) => {
      await router.send(['bare', ...frames]);
      return router.receive();
    },
    close: () => {
      peer.kill();
      router.close();
      rmSync(folder, { recursive: true });
    },
  };
}

function cases(
  exchange: (frames: (string | Buffer)[]) => Promise<unknown>,
  worker: Worker,
): Case[] {
  const small = Buffer.alloc(196, 'x');
  const large = [ids, logprobs].map((array) => Buffer.from(array.buffer));
  const tensors = { ids: tensor(ids, [256, 2048]), logprobs: tensor(logprobs, [256, 2048]) };
  // With the rest of the header, 200 bytes.
  const call = { function: 'test:echo', keywords: { text: 'x'.repeat(70) } };
  return [
    {
      name: '200-byte round trip',
      goal: 2,
      exchanges: 200,
      bare: () => exchange(['echo', small]),
      bridge: () => worker.request('call', call),
    },
    {
      name: '4.19 MB one way (answered by a few bytes)',
      goal: 1.5,
      exchanges: 20,
      bare: () => exchange(['take', ...large]),
      bridge: () => worker.request('call', { function: 'test:take', keywords: {} }, { tensors }),
    },
    {
      name: '4.19 MB there and back',
      goal: 1.5,
      exchanges: 20,
      bare: () => exchange(['echo', ...large]),
      bridge: () => worker.request('call', { function: 'test:echo', keywords: {} }, { tensors }),
    },
  ];
}

const packr = new Packr({ useRecords: false });
const header = {
  type: 'result',
  id: 'abcdef012345-1',
  result: { value: {} },
  seconds: 0.01,
  tensors: [
    { name: 'ids', dtype: 'int32', shape: [256, 2048] },
    { name: 'logprobs', dtype: 'float32', shape: [256, 2048] },
  ],
};

/** The same exchange between making a header and reading one. */
async function packed(exchange: () => Promise<unknown>): Promise<unknown> {
  const bytes = packr.pack(header);
  await exchange();
  return packr.unpack(bytes);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Milliseconds per exchange of one turn. */
interface Turn {
  readonly median: number;
  /**
   * Holds the garbage collector's pauses, which a median hides as long as they fall on fewer than
   * half of the exchanges.
   */
  readonly mean: number;
}

async function turn(exchange: () => Promise<unknown>, exchanges: number): Promise<Turn> {
  const times: number[] = [];
  for (let index = 0; index < exchanges; index++) {
    const start = performance.now();
    await exchange();
    times.push(performance.now() - start);
  }
  return { median: median(times), mean: times.reduce((sum, time) => sum + time, 0) / times.length };
}

const bare = await startBare();
const group = await startWorkers({
  workers: [
    {
      name: 'bench',
      operations: 'bridge_operations:EchoOperations',
      env: { PYTHONPATH: `${pythonBridge}:${join(pythonBridge, 'tests')}` },
    },
  ],
});

console.log(
  `${cpus().length} CPUs, Node ${process.version}; medians of ${TURNS} turns each, in ms\n`,
);
console.log(
  '| exchange | of one turn | bare sockets | packed | bridge | bridge / bare | bridge / ' +
    'packed | goal |\n|---|---|---|---|---|---|---|---|',
);
for (const one of cases(bare.exchange, group.get('bench'))) {
  const sides = [one.bare, () => packed(one.bare), one.bridge];
  for (const side of sides) await turn(side, one.exchanges);
  const turns: Turn[][] = [];
  for (let index = 0; index < TURNS; index++) {
    const round: Turn[] = [];
    for (const side of sides) round.push(await turn(side, one.exchanges));
    turns.push(round);
  }
  for (const measure of ['median', 'mean'] as const) {
    const of = (side: number) => median(turns.map((round) => round[side]![measure])).toFixed(3);
    const ratio = (to: number) =>
      median(turns.map((round) => round[2]![measure] / round[to]![measure])).toFixed(2);
    console.log(
      `| ${one.name} | ${measure} | ${of(0)} | ${of(1)} | ${of(2)} | ${ratio(0)} | ` +
        `${ratio(1)} | <= ${one.goal} |`,
    );
  }
}
await group.close();
bare.close();
