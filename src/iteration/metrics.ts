/** Names of metrics. */
import type { Metrics } from '../run-folder/events.ts';

/** Metrics under a prefix: `{mse: 1}` -> `{'critic/mse': 1}`. */
export function prefixed(prefix: string, metrics: Metrics): Record<string, number> {
  return Object.fromEntries(
    Object.entries(metrics).map(([name, value]) => [`${prefix}/${name}`, value]),
  );
}
