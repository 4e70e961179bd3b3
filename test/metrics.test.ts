/** The table of metrics against the code: the runs' own tests hold their lines to it too. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { documentedMetrics, undocumented } from './fixtures/documented-metrics.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const code = ['src', 'plugins/critics', 'plugins/trl/genac_trl', 'python_bridge/genac_bridge']
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(ts|py)$/.test(name))
      .map((name) => readFileSync(join(root, folder, name), 'utf8')),
  )
  .join('\n');

it('names each metric once, and each is written somewhere in the code', () => {
  expect(documentedMetrics.length).toBeGreaterThan(50);
  expect(new Set(documentedMetrics).size).toBe(documentedMetrics.length);
  // Prefixes are put before names in several places, so the last part is what must be there.
  const absent = documentedMetrics.filter((name) => {
    const last = name.split(/[/@]/).at(-1)!;
    const own = last.replace(/^heldout_(greedy_)?/, '').replace(/_(right|wrong)$|NAME$/, '');
    return last !== 'K' && !code.includes(own);
  });
  expect(absent).toEqual([]);
});

it('finds a name that is not in the table', () => {
  expect(undocumented(['reward', 'rewards/mine/std', 'evaluation/pass@8'])).toEqual([]);
  expect(undocumented(['rewards', 'critic/nonsense'])).toEqual(['rewards', 'critic/nonsense']);
});
