/** Names and sums of metrics. */
import type { Metrics } from '../run-folder/events.ts';

/** Metrics under a prefix: `{mse: 1}` -> `{'critic/heldout_mse': 1}`. */
export function prefixed(prefix: string, metrics: Metrics): Record<string, number> {
  return Object.fromEntries(
    Object.entries(metrics).map(([name, value]) => [`${prefix}/${name}`, value]),
  );
}

/** Sums what a critic reports while it values the states of an iteration. */
export class Spending {
  readonly #sums = new Map<string, number>();

  readonly add = (metrics: Metrics): void => {
    for (const [name, value] of Object.entries(metrics))
      this.#sums.set(name, (this.#sums.get(name) ?? 0) + value);
  };

  /** Under `critic/`. */
  get metrics(): Record<string, number> {
    return prefixed('critic', Object.fromEntries(this.#sums));
  }
}
