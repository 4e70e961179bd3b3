/**
 * GenAC against the group mean on a real language model, at equal tokens of the actor, for
 * bench/gpu-smollm2.sh. Traces of a rule-based oracle, SFT and RL of the critic; beside it, from
 * the same actor, the group mean with each of two learning rates; then joint training with the rate
 * at which the group mean ended better. The group mean runs for half as many iterations again, and
 * is read where it has used as many tokens, for its responses may be shorter.
 *
 *     node --import tsx bench/gpu/smollm2.ts --model FOLDER --problems FOLDER --out FOLDER
 *         [--families sums,mixed] [--seeds 0] [--minutes M] [--tiny]
 *
 * Writes OUT/smollm2.json and OUT/smollm2.md anew after each evaluation, so that a stop loses
 * nothing. After M minutes the run that is at work ends, and no other begins.
 */

import { setMaxListeners } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type ConfigInput,
  loadConfigFile,
  readMetrics,
  startRun,
  startWorkers,
} from '../../src/index.ts';
import { curveOf } from '../../src/reproduction/work.ts';
import { givenArguments } from './arguments.ts';
import { type Entry, page, resultOf } from './smollm2-page.ts';
import { beside, factors, makeTraces, runsOf } from './smollm2-runs.ts';

const { model, problems, out, families, seeds, minutes, tiny } = givenArguments();
const recipe = loadConfigFile('bench/gpu/smollm2.yaml').config;
const limit =
  minutes === null ? new AbortController().signal : AbortSignal.timeout(Math.round(minutes * 6e4));
setMaxListeners(0, limit);
const entries: Entry[] = [];
const workers = await startWorkers({
  workers: [{ name: 'gpu' }, { name: beside }],
  logDirectory: join(out, 'logs'),
});
try {
  for (const seed of seeds)
    for (const family of families) if (!limit.aborted) await compare(family, seed);
  write();
} finally {
  await workers.close();
}

async function compare(family: string, seed: number): Promise<void> {
  const folder = join(out, 'runs', `${family}-${seed}`);
  mkdirSync(folder, { recursive: true });
  const { traces, runs } = runsOf(recipe, {
    ...{ family, seed, folder, tiny, model, problems },
  });
  const began = performance.now();
  const groupMeans = async () => {
    const ends: number[] = [];
    for (const run of factors.map(runs.groupMean)) {
      if (limit.aborted) break;
      const method = `group mean, rate ${run.actor!.learning_rate}`;
      entries.push({ family, seed, method, folders: [run.folder], before: {} });
      await train(run);
      ends.push(curveOf(readMetrics(run.folder)).at(-1)?.success ?? 0);
    }
    return factors[ends.indexOf(Math.max(...ends))]!;
  };
  const critic = async () => {
    if (!limit.aborted) await makeTraces(traces, folder, tiny ? 4 : 512);
    const making = (performance.now() - began) / 1000;
    for (const run of [runs.imitation, runs.pretraining]) await train(run);
    return making;
  };
  const [factor, making] = await Promise.all([groupMeans(), critic()]);
  if (limit.aborted) return;
  const joint = runs.joint(factor);
  entries.push({
    ...{ family, seed, method: `GenAC, rate ${joint.actor!.learning_rate}` },
    folders: [runs.imitation, runs.pretraining, joint].map((run) => run.folder),
    before: { traces: making },
  });
  await train(joint);
}

/** Trains until the time is up. */
async function train(config: ConfigInput): Promise<void> {
  if (limit.aborted) return;
  const run = startRun(config, { workers });
  limit.addEventListener('abort', () => run.stop());
  for await (const event of run) {
    if (event.type !== 'evaluation') continue;
    console.error(config.folder, event.stage, event.iteration);
    write();
  }
  await run.finished;
  write();
}

function write(): void {
  const begun = entries.filter(({ folders }) => folders.every((one) => existsSync(one)));
  const results = begun.map(resultOf).filter(({ curve }) => curve.length > 0);
  writeFileSync(join(out, 'smollm2.json'), `${JSON.stringify(results, null, 1)}\n`);
  writeFileSync(join(out, 'smollm2.md'), page(results));
}
