import { constants } from 'node:os';
import type { Run } from '../run/run.ts';

/** Returns the shell's exit code: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP. */
export const exitCodeOf = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Ctrl-C (or SIGTERM, or SIGHUP when the terminal closes) ends the runs after the current
 * iterations, with checkpoints. A second one ends the process at once, and the last checkpoint
 * stays complete. A second SIGHUP does not, because a closing terminal sends two, the shell's and
 * the kernel's. The exit code is then the shell's for the signal, 128 and its number, because the
 * job did not finish.
 *
 * @returns a function that removes the handlers
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
  // A closed terminal can't be written to. That must neither end the run nor change the exit code.
  const deaf = () => {};
  for (const stream of [process.stdout, process.stderr]) stream.on('error', deaf);
  return () => {
    for (const signal of signals) process.off(signal, handle);
  };
}
