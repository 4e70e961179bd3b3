/** What training a critic took, from its run's own metrics. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { metric, readMetrics } from '../run-folder/read.ts';

/** Tokens of all its updates (`critic/tokens`); of a run without metrics 0. */
export function trainedTokens(run: string): number {
  if (!existsSync(join(run, 'metrics.jsonl'))) return 0;
  return readMetrics(run)
    .filter(({ type }) => type === 'iteration')
    .reduce((sum, line) => sum + (metric(line, 'critic/tokens') ?? 0), 0);
}
