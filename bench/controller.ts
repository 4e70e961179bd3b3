/**
 * The controller's own time and memory: joint training against workers that answer at once, with
 * answers as large as real ones'. N problems x 8 responses x 16 states; over real sockets (each
 * worker a process), or in memory (workers in the same process, whose time is subtracted).
 *
 *     node --expose-gc --import tsx bench/controller.ts
 *     PROBLEMS=10000 ITERATIONS=1 ONLY=sockets node --import tsx bench/controller.ts
 *
 * PROBLEMS (default 128,256,512,1024): sizes. ITERATIONS (default 6, the first of which is left
 * out). ONLY=sockets or ONLY=memory: one kind of workers. SMALL=1000: so many small iterations
 * besides, in memory, to see whether memory grows.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inMemory, measure, memoryOver, overSockets, statesOf } from './controller-run.ts';

const { PROBLEMS = '128,256,512,1024', ITERATIONS = '6', ONLY, SMALL } = process.env;
const scratch = mkdtempSync(join(tmpdir(), 'genac-controller-'));
const columns = [
  ...['workers', 'problems x responses', 'states', 'controller, ms of processor', 'of 60 s'],
  ...['wall, ms', 'lag p99, ms', 'longest lag, ms', 'memory, MB', 'of it heap, MB'],
];
console.log(`| ${columns.join(' | ')} |\n|${columns.map(() => '---').join('|')}|`);
for (const [name, open] of [
  ['sockets', overSockets],
  ['memory', inMemory],
] as const) {
  if (ONLY && ONLY !== name) continue;
  const workers = await open(scratch);
  for (const problems of PROBLEMS.split(',').map(Number)) {
    const size = { problems, responses: 8 };
    const found = await measure(
      workers,
      join(scratch, `${name}-${problems}`),
      size,
      Number(ITERATIONS),
    );
    const { cpu, wall, lag, longest, resident, heap } = found;
    const cells = [
      ...[name, `${problems} x 8`, statesOf(size), cpu.toFixed(0), `${(cpu / 600).toFixed(2)}%`],
      ...[
        wall.toFixed(0),
        lag.toFixed(1),
        longest.toFixed(1),
        resident.toFixed(0),
        heap.toFixed(0),
      ],
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
  if (name === 'memory' && SMALL) {
    const used = await memoryOver(workers, join(scratch, 'small'), Number(SMALL));
    const figures = [...used].map(([iteration, mb]) => `${iteration}: ${mb.toFixed(1)} MB`);
    console.log(`\nMemory in use after a collection, by iteration: ${figures.join(', ')}`);
  }
  await workers.close();
}
rmSync(scratch, { recursive: true });
process.exit(0);
