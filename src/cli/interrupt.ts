import type { Run } from '../run.ts';

/**
 * Ctrl-C (or SIGTERM) ends the runs after the iterations in hand, with checkpoints; a second one ends the process at once, and the last
 * checkpoint stays whole.
 *
 * @returns a function that takes the handlers away
 */
export function stopOnInterrupt(
  runs: readonly Pick<Run, 'stop'>[],
  onStop: () => void = () => {},
): () => void {
  let asked = false;
  const handle = () => {
    if (asked) process.exit(130); // workers end with the process: see src/workers
    asked = true;
    onStop();
    console.error('\nending after this iteration, with a checkpoint; once more to end at once');
    for (const run of runs) void run.stop();
  };
  process.on('SIGINT', handle);
  process.on('SIGTERM', handle);
  return () => {
    process.off('SIGINT', handle);
    process.off('SIGTERM', handle);
  };
}
