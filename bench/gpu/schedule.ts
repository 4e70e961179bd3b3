/**
 * An iteration of joint training on one card, by schedule and by how many workers share it, for
 * bench/gpu-smollm2.sh --schedule. The critic is the untrained model, so what is measured are
 * seconds and nothing else.
 *
 *     node --import tsx bench/gpu/schedule.ts --model FOLDER --problems FOLDER --out FOLDER
 *         [--tiny]
 *
 * Writes OUT/schedule.json and OUT/schedule.md anew after each run.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ConfigInput, loadConfigFile, startRun } from '../../src/index.ts';
import { median } from '../../src/math/statistics.ts';
import { givenArguments } from './arguments.ts';
import { runsOf } from './smollm2-runs.ts';

const { model, problems, out, tiny } = givenArguments();
const recipe = loadConfigFile('bench/gpu/smollm2.yaml').config;
/** Of each run, behind one that is not counted: it compiles and plans. */
const counted = tiny ? 2 : 4;

const ways = [
  ['one worker, synchronous', 1, 'synchronous'],
  ['one worker, pipelined', 1, 'pipelined'],
  ['two workers, synchronous', 2, 'synchronous'],
  ['two workers, pipelined', 2, 'pipelined'],
] as const;

function configOf(count: number, schedule: 'synchronous' | 'pipelined', name: string): ConfigInput {
  const { runs } = runsOf(recipe, {
    ...{ family: 'sums', seed: 0, folder: join(out, 'runs'), tiny },
    ...{ model, problems },
  });
  const { start_from: _, ...config } = runs.joint(1);
  const [actor, critic] = count === 1 ? ['gpu', 'gpu'] : ['actor', 'critic'];
  return {
    ...{ ...config, folder: join(out, 'runs', name.replaceAll(/\W+/g, '-')) },
    actor: { ...config.actor!, worker: actor! },
    critic: {
      ...(config.critic as { readonly use: string }),
      ...{ worker: critic!, ...(tiny ? {} : { max_new_tokens: 64 }) },
    },
    workers: Object.fromEntries([...new Set([actor, critic])].map((one) => [one, {}])),
    joint: { ...config.joint, steps: counted + 1, schedule },
    sampling: { ...config.sampling, ...(tiny ? {} : { batch_size: 16 }) },
    gates: { joint: null, explained_variance: false },
    evaluation: { every: 0, prompts: 4, states: 4 },
    icc: { warm_rollouts: 0 },
  };
}

/** Seconds of each iteration but the first. */
async function measure(config: ConfigInput): Promise<number[]> {
  const run = startRun(config);
  const ends: number[] = [];
  for await (const event of run)
    if (event.type === 'iteration' && event.stage === 'joint') ends.push(performance.now());
  await run.finished;
  return ends.slice(1).map((end, i) => (end - ends[i]!) / 1000);
}

const found: { readonly way: string; readonly seconds: readonly number[] }[] = [];
for (const [way, count, schedule] of ways) {
  found.push({ way, seconds: await measure(configOf(count, schedule, way)) });
  console.error(way, found.at(-1)!.seconds);
  writeFileSync(join(out, 'schedule.json'), `${JSON.stringify(found, null, 1)}\n`);
  const rows = found.map((one) => `| ${one.way} | ${median(one.seconds).toFixed(2)} |\n`);
  writeFileSync(
    join(out, 'schedule.md'),
    `| workers and schedule | seconds an iteration, median of ${counted} |\n` +
      `|---|---|\n${rows.join('')}`,
  );
}
