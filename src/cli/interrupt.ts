import { constants } from 'node:os';
import type { Run } from '../run/run.ts';

/** As shells have it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP. */
export const exitCodeOf = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Ctrl-C (or SIGTERM, or SIGHUP where the terminal closes) ends the runs after the iterations in
 * hand, with checkpoints; a second one ends the process at once, and the last checkpoint stays
 * whole. Not a second
 * SIGHUP: a terminal that closes sends two, the shell's and the kernel's. The process's exit code
 * is then the shell's for the signal, 128 and its number, for a job that was ended has not done its
 * work.
 *
 * @returns a function that takes the handlers away
 */
export function stopOnInterrupt(
  runs: readonly Pick<Run, 'stop'>[],
  onStop: () => void = () => {},
): () => void {
  let asked = false;
  const handle = (signal: NodeJS.Signals) => {
    if (asked && signal === 'SIGHUP') return;
    process.exitCode = exitCodeOf(signal);
    if (asked) process.exit(); // workers end with the process: see src/workers
    asked = true;
    onStop();
    console.error('\nending after this iteration, with a checkpoint; once more to end at once');
    for (const run of runs) void run.stop();
  };
  for (const signal of signals) process.on(signal, handle);
  // A terminal that is gone can't be written to, and that must not end the run, nor the process
  // with another code.
  const deaf = () => {};
  for (const stream of [process.stdout, process.stderr]) stream.on('error', deaf);
  return () => {
    for (const signal of signals) process.off(signal, handle);
  };
}
