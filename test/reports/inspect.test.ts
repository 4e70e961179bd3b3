import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { choose, inspectRun, iterationTable } from '../../src/reports/inspect.ts';
import { inspectionPage } from '../../src/reports/inspect-page.ts';
import { inspectionText } from '../../src/reports/inspect-text.ts';
import { shortened } from '../../src/reports/shortened.ts';
import type { RecordedTrajectory } from '../../src/run-folder/read.ts';

const root = new URL('../..', import.meta.url).pathname;
const hostile = '\u001b]0;owned\u0007\u001b[2J<script>alert(1)</script>\r\u202egnp\u009b31m';

const trajectory = (
  iteration: number,
  reward: number,
  value: number,
  changes: Partial<RecordedTrajectory['segments'][number]> = {},
): RecordedTrajectory => ({
  iteration,
  problem: `p${iteration}`,
  prompt: '1 + 1 =',
  response: '2',
  reward,
  segments: [
    {
      text: 'two',
      tokens: 1,
      value,
      used_value: value,
      advantage: reward - value,
      parsed: 'ok',
      rationale: 'it adds up',
      ...changes,
    },
  ],
});
const all = [
  trajectory(0, 1, 0.9),
  trajectory(1, 0, 0.8),
  trajectory(1, 1, 0.2, { parsed: 'malformed' }),
  trajectory(2, 0, 0.1),
];

let scratch: string;
function folderOf(name: string, lines: readonly object[], trajectories: readonly object[]): string {
  const folder = join(scratch, name);
  execFileSync('mkdir', [folder]);
  const jsonl = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  writeFileSync(join(folder, 'config.yaml'), '');
  writeFileSync(join(folder, 'metrics.jsonl'), jsonl(lines));
  if (trajectories.length > 0)
    writeFileSync(join(folder, 'trajectories.jsonl'), jsonl(trajectories));
  return folder;
}
const line = (iteration: number, metrics: object, stage = 'joint') => ({
  type: 'iteration',
  stage,
  iteration,
  seconds: 1,
  ...metrics,
});
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'genac-inspect-'));
});

describe('responses', () => {
  const indices = (options: object) =>
    choose(all, { count: 4, ...options }).map((t) => all.indexOf(t));
  it.each([
    [{}, [0, 1, 2, 3]],
    [{ count: 2 }, [2, 3]],
    [{ count: 0 }, []],
    [{ order: 'best' }, [0, 2, 1, 3]],
    [{ order: 'worst' }, [3, 1, 2, 0]],
    [{ order: 'surprising', count: 2 }, [1, 2]],
    [{ malformed: true }, [2]],
    [{ iteration: 1, order: 'best' }, [2, 1]],
    [{ iteration: 9 }, []],
  ])('%j', (options, expected) => {
    expect(indices(options)).toEqual(expected);
  });

  it('are the same where many are left out on the way, and few are held', () => {
    const many = Array.from({ length: 50 }, (_, i) =>
      trajectory(i, ((i * 7) % 11) / 10, (i % 5) / 5),
    );
    for (const order of ['best', 'worst', 'surprising'] as const) {
      const all = choose(many, { order, count: 50 });
      for (const count of [1, 3, 20])
        expect(choose(many, { order, count })).toEqual(all.slice(0, count));
    }
    expect(choose(many, { count: 3 })).toEqual(many.slice(-3));
  });

  it('without segments are not surprising, and can be shown', () => {
    const empty = { ...trajectory(0, 1, 0), segments: [] };
    expect(choose([empty, ...all], { order: 'surprising', count: 9 }).at(-1)).toBe(empty);
    const shown = { folder: 'x', table: [], notes: [], trajectories: [empty] };
    expect(inspectionText(shown, false)).toContain('reward 1.00');
  });
});

describe('what is too long to show', () => {
  it('is cut with a mark, never within a character', () => {
    const long = `${'x'.repeat(199_999)}😀${'\u200b'.repeat(1000)}`;
    const [short] = shortened([trajectory(0, 1, 0.5, { rationale: long })]);
    expect(short!.segments[0]!.rationale).toBe(
      `${'x'.repeat(199_999)} [... 1,002 more characters]`,
    );
    expect(short!.segments[0]!.text).toBe('two');
  });

  it('leaves out segments and texts once all together are too long', () => {
    const segment = trajectory(0, 1, 0.5, { rationale: '\u200b'.repeat(199_000) }).segments[0]!;
    const many = {
      ...trajectory(0, 1, 0.5),
      segments: Array.from({ length: 1000 }, () => segment),
    };
    const inspection = {
      folder: 'x',
      table: [],
      notes: [],
      trajectories: shortened([many, many], 6e5),
    };
    const [first, second] = inspection.trajectories;
    expect(first!.segments).toHaveLength(4);
    expect(first!.segments.at(-1)!.rationale).toMatch(/\n\[\.\.\. 996 more segments\]$/);
    expect(second!.segments).toHaveLength(1);
    expect(second!.segments[0]!.rationale).toMatch(/\[\.\.\. 1000 more segments\]$/);
    expect(inspectionText(inspection, false)).toContain('more segments]');
    expect(inspectionPage(inspection)).toContain('more segments]');
  });
});

describe('the table', () => {
  it('joins an iteration’s own and its held-out figures, and leaves out what no line has', () => {
    const lines = [
      {
        ...line(0, { 'evaluation/success': 0.25, 'critic/parse_rate': 0.1 }),
        type: 'evaluation' as const,
      },
      line(0, { reward: 0.5, 'critic/malformed_states': 1, 'critic/parse_rate': 0.9 }),
      line(1, { reward: 0.75, 'critic/malformed_states': 12 }),
    ] as Parameters<typeof iterationTable>[0];
    expect(iterationTable(lines).table).toEqual([
      ['stage', 'iteration', 'reward', 'held-out success', 'parse rate', 'malformed states'],
      ['joint', '0', '0.500', '0.250', '0.900', '1'],
      ['joint', '1', '0.750', '', '', '12'],
    ]);
    expect(iterationTable(lines, 1).table).toHaveLength(2);
    const long = Array.from({ length: 500 }, (_, i) => line(i, { reward: i }));
    const { table, notes } = iterationTable(long as typeof lines);
    expect(table.length).toBeLessThanOrEqual(25);
    expect([table[1]![1], table.at(-1)![1]]).toEqual(['0', '499']);
    expect(notes[0]).toBe(`${500 - (table.length - 1)} more iterations are in metrics.jsonl.`);
    // Held-out figures are what a reader looks for: few of them are all there.
    const seldom = long.map((one, i) =>
      [1, 29, 251].includes(i) ? { ...one, 'evaluation/success': i / 500 } : one,
    );
    const shown = iterationTable(seldom as typeof lines).table;
    expect(shown.length).toBeLessThanOrEqual(25);
    expect(shown[0]).toContain('held-out success');
    const held = shown.slice(1).filter((row) => row.at(-1) !== '');
    expect(held.map(([, iteration]) => iteration)).toEqual(['1', '29', '251']);
  });
});

describe('genac inspect', () => {
  it('lets nothing of a response reach the terminal or the page as more than text', () => {
    const t = {
      ...trajectory(0, 0, 0.5, { text: hostile, rationale: hostile }),
      problem: hostile,
      prompt: hostile,
    };
    const shown = { folder: 'runs/x', table: [], notes: [], trajectories: [t] };
    const text = inspectionText(shown, false);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    expect(text).toContain('\\u001b]0;owned\\u0007\\u001b[2J<script>');
    const page = inspectionPage(shown);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
    expect(page).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]|<script/);
    expect(page).toContain('\\u001b[2J&lt;script&gt;');
  });

  it('colours where it is told to, and never otherwise', () => {
    const shown = { folder: 'x', table: [['a'], ['b']], notes: [], trajectories: all };
    expect(inspectionText(shown, true)).toContain('\u001b[1m');
    expect(inspectionText(shown, false)).not.toContain('\u001b');
  });

  it('reads a run that writes at this moment, one of stages 1 and 2 alone, and refuses what is no run', () => {
    const folder = folderOf('going-on', [line(0, { reward: 1 })], all);
    appendFileSync(join(folder, 'metrics.jsonl'), '{"type":"iter');
    appendFileSync(join(folder, 'trajectories.jsonl'), '{"iteration":3,"prob');
    expect(inspectRun(folder, { count: 9 }).trajectories).toHaveLength(4);
    expect(inspectRun(folder, { count: 4, iteration: 7 }).notes.join(' ')).toContain(
      'None of the 4 recorded',
    );
    const critic = folderOf('critic', [line(0, { 'critic/parse_rate': 1 }, 'critic-rl')], []);
    expect(inspectRun(critic, { count: 4 }).notes.join(' ')).toContain('There are no trajectories');
    expect(() => inspectRun(scratch, { count: 4 })).toThrow('holds no run');
  });

  it('runs from the command line, group mean included', () => {
    const gate = { rationale: '', used_value: 0.25, inherited: true };
    const folder = folderOf('command', [line(0, { reward: 0.25 })], [trajectory(0, 1, 0.25, gate)]);
    const genac = (...args: string[]) =>
      execFileSync(
        process.execPath,
        [join(root, 'src/cli/genac.mjs'), 'inspect', folder, ...args],
        {
          encoding: 'utf8',
          stdio: 'pipe',
        },
      );
    expect(genac('--best', '--count', '1')).toContain('   0.25      +0.75  two\n');
    expect(genac('--best', '--count', '1')).toContain('[not asked about this state');
    expect(genac('--html')).toBe(`${join(folder, 'inspect.html')}\n`);
    expect(readFileSync(join(folder, 'inspect.html'), 'utf8')).toContain('+0.75');
    expect(() => genac('--best', '--worst')).toThrow('--best and --worst are different orders');
    expect(() => genac('--count', '-1')).toThrow('whole number');
  }, 60_000);
});
