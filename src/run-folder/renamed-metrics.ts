/** Metrics under the names that they had before: they are read for one version. */

/** Old name -> present name, on lines of either type. */
const always = {
  success_rate: 'actor/success_rate',
  'gate/mse_of_mean': 'gate/mse_of_constant',
  'gate/fell_back_to_group_mean': 'gate/fallback',
};

/**
 * Old name -> present name, by the type of the line. An iteration's `critic/parse_rate` is another
 * metric than an evaluation's, and keeps its name.
 */
export const renamedMetrics = {
  iteration: always,
  evaluation: {
    ...always,
    'critic/mse': 'critic/heldout_mse',
    'critic/greedy_mse': 'critic/heldout_greedy_mse',
    'critic/mse_of_mean': 'critic/heldout_mse_of_constant',
    'critic/bias': 'critic/heldout_bias',
    'critic/parse_rate': 'critic/heldout_parse_rate',
    'critic/greedy_parse_rate': 'critic/heldout_greedy_parse_rate',
  },
} satisfies Record<'iteration' | 'evaluation', Readonly<Record<string, string>>>;

/** Returns a line of `metrics.jsonl` with the present names. */
export function withPresentMetrics<T extends { readonly type: 'iteration' | 'evaluation' }>(
  line: T,
): T {
  return renamed(line, renamedMetrics[line.type]);
}

/**
 * Returns the latest value of each metric with the present names. `critic/parse_rate` may be of
 * either type there, and keeps its name.
 */
export function withPresentLatest<T extends Readonly<Record<string, unknown>>>(latest: T): T {
  // Your own critic may have an `mse` or a `bias`. Only the old names come with this one.
  if (!Object.hasOwn(latest, 'critic/mse_of_mean')) return renamed(latest, always);
  const { 'critic/parse_rate': _, ...names } = renamedMetrics.evaluation;
  return renamed(latest, names);
}

function renamed<T extends object>(line: T, names: Readonly<Record<string, string>>): T {
  if (!Object.keys(line).some((name) => Object.hasOwn(names, name))) return line;
  const entries = Object.entries(line);
  return Object.fromEntries(entries.map(([name, value]) => [names[name] ?? name, value])) as T;
}
