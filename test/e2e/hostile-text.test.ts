/**
 * Text of others reaches no terminal as more than text: real processes, and all that they print.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { showProgress } from '../../src/cli/progress.ts';
import type { RunEvent } from '../../src/run-folder/events.ts';

const root = new URL('../..', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'genac-hostile-'));
afterAll(() => rmSync(scratch, { recursive: true }));

/**
 * Sets the title, clears the screen (in C0 and C1), reorders what is read, and hides in zero width.
 */
const hostile = '\u001b]0;owned\u0007\u001b[2J\u009b2J\u202egnp\u2066\u200b\r\u0085';
const shown = '\\u001b]0;owned\\u0007\\u001b[2J\\u009b2J\\u202egnp\\u2066\\u200b';
// biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
const raw = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2066-\u2069]/;

function genac(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'src/cli/genac.mjs'), ...args],
    {
      encoding: 'utf8',
    },
  );
  expect(stdout + stderr).not.toMatch(raw);
  return { status, text: stdout + stderr };
}
function fileOf(name: string, content: string): string {
  writeFileSync(join(scratch, name), content);
  return join(scratch, name);
}
const yaml = (name: string, changes: object) =>
  fileOf(
    `${name}.yaml`,
    JSON.stringify({
      folder: join(scratch, name),
      stages: ['joint'],
      task: { use: 'miniature', actors: 4 },
      critic: 'group-mean',
      actor: { model: 'task:blank' },
      workers: { actor: { threads: 1 } },
      sampling: { batch_size: 2, num_generations: 2, max_new_tokens: 4 },
      icc: { warm_rollouts: 0 },
      joint: { steps: 1 },
      ...changes,
    }),
  );

describe('what a command prints', () => {
  it('the error of a reward, which may hold what a model wrote', () => {
    const reward = fileOf(
      'reward.ts',
      `export default () => { throw new Error(${JSON.stringify(hostile)}); };`,
    );
    const { status, text } = genac('train', yaml('reward', { rewards: [{ use: reward }] }));
    expect(status).not.toBe(0);
    expect(text).toContain(shown);
    expect(text).not.toMatch(/\n\s+at /);
  }, 120_000);

  it('a fault of a kind that keeps its stack', () => {
    const reward = fileOf(
      'fault.ts',
      `throw new TypeError(${JSON.stringify(hostile)}); export default () => 1;`,
    );
    expect(genac('train', yaml('fault', { rewards: [{ use: reward }] })).text).toContain(shown);
  }, 120_000);

  it('an error that nobody caught', () => {
    const thrown = `setTimeout(() => { throw new Error(${JSON.stringify(hostile)}); }, 1)`;
    const reward = fileOf(
      'late.ts',
      `export default () => { ${thrown}; return new Promise(() => {}); };`,
    );
    const { status, text } = genac('train', yaml('late', { rewards: [{ use: reward }] }));
    expect(status).toBe(1);
    expect(text).toContain(shown);
  }, 120_000);

  it('names and values of a config, and names of files', () => {
    const named = genac('train', yaml('key', { [hostile]: 1, stages: [hostile] })).text;
    expect(named).toContain(`${shown}\\u000d\\u0085: no such option`);
    expect(genac('train', join(scratch, hostile)).text).toContain(shown);
    expect(genac(hostile).text).toContain(shown);
    expect(genac('inspect', '--iteration', hostile, 'x').text).toContain(shown);
  });

  it('what stands in a run folder', () => {
    const folder = join(scratch, 'folder');
    mkdirSync(folder);
    writeFileSync(join(folder, 'config.yaml'), '');
    const segment = { tokens: 1, value: 0.5, used_value: 0.5, advantage: 0, parsed: 'ok' };
    const trajectory = {
      ...{ iteration: 0, problem: hostile, prompt: hostile, response: hostile, reward: 1 },
      segments: [{ ...segment, text: hostile, rationale: hostile }],
    };
    const line = {
      type: 'iteration',
      stage: 'joint',
      iteration: 0,
      seconds: 1,
      [hostile]: hostile,
    };
    const write = (name: string, content: object) =>
      writeFileSync(join(folder, name), `${JSON.stringify(content)}\n`);
    write('metrics.jsonl', line);
    write('trajectories.jsonl', trajectory);
    expect(genac('inspect', folder)).toMatchObject({
      status: 0,
      text: expect.stringContaining(shown),
    });
    expect(genac('inspect', folder, '--html', join(scratch, `${hostile}.html`)).text).toContain(
      shown,
    );
    write('metrics.jsonl', { ...line, stage: hostile });
    expect(genac('inspect', folder)).toMatchObject({
      status: 1,
      text: expect.stringContaining(shown),
    });
    write('status.json', { state: hostile });
    expect(genac('status', folder).text).toContain('status.json was cut off or edited');
    write('run.json', { base: hostile });
    expect(genac('resume', folder).status).toBe(1);
  });

  it('the status as JSON stays the same JSON', () => {
    const folder = join(scratch, 'status');
    mkdirSync(folder);
    const status = {
      ...{
        state: 'stopped',
        pid: 1,
        process_start: null,
        host: hostile,
        since: '',
        updated: hostile,
      },
      ...{ stage: 'joint', iteration: 1, iterations: 2, phase: hostile, metrics: { [hostile]: 1 } },
    };
    writeFileSync(join(folder, 'status.json'), JSON.stringify(status));
    expect(JSON.parse(genac('status', folder, '--json').text)).toEqual({ ...status, alive: false });
    expect(genac('status', folder).text).toContain(shown);
  });
});

it.each([true, false])('progress of a run, on a terminal: %s', async (isTTY) => {
  let written = '';
  const out = { isTTY, columns: 500, write: (text: string) => (written += text) };
  const place = { stage: 'joint', iteration: 0 } as const;
  const events = async function* (): AsyncGenerator<RunEvent> {
    yield { type: 'stage', stage: 'joint', iterations: 3, from: 0 };
    yield { type: 'message', text: hostile };
    yield { type: 'phase', phase: hostile, ...place };
    yield { type: 'checkpoint', path: hostile, ...place };
    yield { type: 'evaluation', metrics: { reward: 1 }, ...place };
    yield { type: 'set', values: { 'joint.schedule': hostile as 'pipelined' }, ...place };
  };
  for await (const _ of showProgress(events(), hostile, out as unknown as NodeJS.WriteStream));
  // What renews the line is its own.
  expect(written.replaceAll('\r\u001b[2K', '')).not.toMatch(raw);
  expect(written).toContain(shown);
});
