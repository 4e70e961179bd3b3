/** What bench/gpu-smollm2.sh gives its scripts. */
import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

/** Folders are absolute; that of results is made. */
export function givenArguments() {
  const { values } = parseArgs({
    options: {
      ...{ model: { type: 'string' }, problems: { type: 'string' }, out: { type: 'string' } },
      families: { type: 'string', default: 'sums,mixed' },
      seeds: { type: 'string', default: '0' },
      minutes: { type: 'string' },
      tiny: { type: 'boolean', default: false },
    },
  });
  const { model, problems, out, families, seeds, minutes, tiny } = values;
  if (!model || !problems || !out) throw new Error('give --model, --problems and --out');
  if (minutes !== undefined && !(Number(minutes) > 0))
    throw new Error(`--minutes must be a number above 0, not ${minutes}`);
  mkdirSync(out, { recursive: true });
  return {
    ...{ model: resolve(model), problems: resolve(problems), out: resolve(out), tiny },
    minutes: minutes === undefined ? null : Number(minutes),
    ...{ families: families.split(','), seeds: seeds.split(',').map(Number) },
  };
}
