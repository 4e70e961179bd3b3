/** Several lives of one run, on a task and a critic without a model. */
import { appendFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { setBetweenLives } from '../../src/run/past-settings.ts';
import { type Run, resumeRun, startRun } from '../../src/run/run.ts';
import type { RunEvent } from '../../src/run-folder/events.ts';
import { readMetrics, readSettings } from '../../src/run-folder/read.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-lives-'));
afterAll(() => rmSync(scratch, { recursive: true }));
afterEach(() => {
  delete process.env.GENAC_TEST_GATE;
});

const fixture = (name: string) => join(import.meta.dirname, '../fixtures', `${name}.ts`);
const configOf = (name: string, critic: object = {}, critic_rl: object = {}): ConfigInput => ({
  ...{ folder: join(scratch, name), stages: ['critic-rl'], actor: null },
  ...{ task: fixture('toy-task'), critic: { use: fixture('toy-critic'), ...critic } },
  critic_rl: {
    ...{ steps: 14, states: 4, learning_rate: 1e-3, decay: 'constant', warmup: 0 },
    ...{ keep: 'last', evaluate_every: 100, ...critic_rl },
  },
  checkpoints: { every: 2, minutes: null, keep: 50 },
  evaluation: { states: 4 },
});

/** Calls `on` after so many iterations; ends with the events. */
async function lived(run: Run, on: Readonly<Record<number, (run: Run) => unknown>> = {}) {
  const events: RunEvent[] = [];
  for await (const event of run) {
    events.push(event);
    if (event.type === 'iteration') void on[event.iteration + 1]?.(run);
  }
  await run.finished;
  return events;
}
const stop = (run: Run) => run.stop();
const rate = (value: number) => (run: Run) => run.set({ 'critic_rl.learning_rate': value });
const iterationsOf = (folder: string) =>
  readMetrics(folder).filter(({ type }) => type === 'iteration');

it('what was set holds in the order of iterations, in whichever life it was set', async () => {
  const config = configOf('order');
  await lived(startRun(config), { 8: rate(0.008), 10: stop });
  const again = resumeRun(config.folder, { from: 'critic-rl-000004' });
  await lived(again, { 6: rate(0.006), 12: stop });
  await lived(resumeRun(config.folder));
  const rates = iterationsOf(config.folder).map((line) => line['critic/rate']);
  const expected = [
    ...new Array(6).fill(0.001),
    ...new Array(2).fill(0.006),
    ...new Array(6).fill(0.008),
  ];
  expect(rates).toEqual(expected);
});

it('a resume that began while another process finished the run changes nothing', async () => {
  const config = configOf('meanwhile');
  const { folder } = config;
  await lived(startRun(config), { 4: stop });
  const begun = resumeRun(folder);
  let going = false;
  const first = lived(begun, {
    5: (run) => {
      run.pause();
      going = true;
    },
  });
  while (!going) await sleep(1);
  const gate = join(scratch, 'gate');
  process.env.GENAC_TEST_GATE = gate;
  const second = resumeRun(folder).finished;
  const refused = expect(second).rejects.toThrow('was changed while this began to resume it');
  while (!existsSync(`${gate}.waiting`)) await sleep(1);
  begun.resume();
  await first;
  writeFileSync(gate, '');
  await refused;
  delete process.env.GENAC_TEST_GATE;
  expect(iterationsOf(folder)).toHaveLength(14);
  await expect(resumeRun(folder).finished).rejects.toThrow('is finished');
}, 30_000);

it('what is set before a stage holds from its start, also where it begins again', async () => {
  const config = configOf('first');
  const run = startRun(config);
  void run.set({ 'critic_rl.learning_rate': 0.5 });
  const events = await lived(run, { 1: stop });
  const types = events
    .map(({ type }) => type)
    .filter((type) => /^(stage|set|evaluation)$/.test(type));
  expect(types).toEqual(['stage', 'set', 'evaluation']);
  rmSync(join(config.folder, 'checkpoints'), { recursive: true });
  await lived(resumeRun(config.folder));
  expect(iterationsOf(config.folder).map((line) => line['critic/rate'])).toEqual(
    new Array(14).fill(0.5),
  );
});

it('a run that is stopped before a stage makes nothing of it', async () => {
  const config = configOf('stopped');
  const run = startRun(config);
  void run.stop();
  const events = await lived(run);
  expect(events.map(({ type }) => type)).not.toContain('evaluation');
  await lived(resumeRun(config.folder));
  expect(iterationsOf(config.folder)).toHaveLength(14);
});

it('an option that the critic can’t take in a run can be set back', async () => {
  const config = configOf('back');
  const { folder } = config;
  await lived(startRun(config), { 4: stop });
  await setBetweenLives(folder, { 'critic.icc': false }, true);
  await expect(resumeRun(folder).finished).rejects.toThrow('takes no other options while a run');
  await setBetweenLives(folder, { 'critic.icc': true }, true);
  await lived(resumeRun(folder));
  expect(iterationsOf(folder)).toHaveLength(14);
});

it('a line of settings that was cut off is no part of the next one', async () => {
  const config = configOf('torn');
  const { folder } = config;
  await lived(startRun(config), { 4: stop });
  appendFileSync(join(folder, 'settings.jsonl'), '{"stage":"critic-rl","iterat');
  await lived(resumeRun(folder), { 6: rate(0.5), 8: stop });
  expect(readSettings(folder)).toHaveLength(1);
  await lived(resumeRun(folder));
  expect(iterationsOf(folder).at(-1)!['critic/rate']).toBe(0.5);
});

it('stage 2 ends with the best critic where one could be kept, and says so only then', async () => {
  const endOf = async (name: string, saves: boolean) => {
    const config = configOf(name, { saves }, { keep: 'best' });
    const events = await lived(startRun(config));
    const said = events.some(({ type, ...event }) =>
      JSON.stringify([type, event]).includes('ends with the critic of the least held-out error'),
    );
    return [said, existsSync(join(config.folder, 'best-critic'))];
  };
  expect(await endOf('kept', true)).toEqual([true, true]);
  expect(await endOf('unkept', false)).toEqual([false, false]);
});
