/**
 * Tables 3 to 6 of `genac reproduce` on a real language model, for bench/gpu-smollm2.sh: sums, and
 * mixed calculations as the further task of table 3. One table after the other, so that a stop
 * leaves those that are done; the same command goes on.
 *
 *     node --import tsx bench/gpu/tables.ts --model FOLDER --problems FOLDER --out FOLDER [--tiny]
 *
 * Writes OUT/reproduction (results.md, index.html, results.json) and OUT/tables.md.
 */
import { copyFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { loadConfigFile, reproduce } from '../../src/index.ts';
import { givenArguments } from './arguments.ts';
import { makeTraces, runsOf, tracesIn } from './smollm2-runs.ts';

const { model, problems, out, tiny } = givenArguments();

const { traces } = runsOf(loadConfigFile('bench/gpu/smollm2.yaml').config, {
  ...{ family: 'sums', seed: 0, folder: out, tiny },
  ...{ model, problems },
});
const config = {
  ...traces,
  critic_sft: { ...traces.critic_sft, traces: tracesIn(out) },
  // Every state of an evaluation has so many continuations.
  evaluation: { ...traces.evaluation, prompts: 64, continuations: 16 },
};
const write = (name: string, options: object): string => {
  const path = join(out, name);
  writeFileSync(path, stringify(options));
  return path;
};
const files = {
  config: write('config.yaml', config),
  shifts: { mixed: write('mixed.yaml', { task: { ...traces.task, family: 'mixed' } }) },
};
if (!existsSync(tracesIn(out))) await makeTraces(traces, out, tiny ? 4 : 512);

for (const tables of [[3], [3, 6], [3, 6, 5], [3, 6, 5, 4]]) {
  const folder = join(out, 'reproduction');
  const size = tiny ? 'tiny' : 'hour';
  await reproduce({ ...files, folder, size, tables, log: (text) => console.error(text) });
  copyFileSync(join(folder, 'results.md'), join(out, 'tables.md'));
}
