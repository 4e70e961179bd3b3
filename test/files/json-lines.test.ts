/** JSONL of any size, damaged lines, and what stands in a file's place. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { jsonLinesOf, splitLines } from '../../src/files/json-lines.ts';
import { readText } from '../../src/files/text-file.ts';
import { inspectRun } from '../../src/reports/inspect.ts';
import { metricsOf, readSettings, readTrajectories } from '../../src/run-folder/read.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-json-lines-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const fileOf = (name: string, content: string | Buffer) => {
  writeFileSync(join(scratch, name), content);
  return join(scratch, name);
};

describe('lines', () => {
  const text = '{"a":"é"}\n\n{"b":"€"}\r\n{"c":"😀\u2028"}\nrest';
  const bytes = Buffer.from(text);

  it('are the same wherever the chunks end, also within a character', () => {
    for (let size = 1; size <= bytes.length; size++) {
      const chunk = Buffer.alloc(size);
      // Each chunk overwrites the one before, as a reader of a file does.
      const chunks = function* () {
        for (let at = 0; at < bytes.length; at += size) {
          const count = bytes.copy(chunk, 0, at, at + size);
          yield chunk.subarray(0, count);
        }
      };
      const lines: [number, string, boolean][] = [];
      for (const line of splitLines(chunks(), 100))
        lines.push([line.number, line.bytes!.toString(), line.ended]);
      expect(lines).toEqual([
        [1, '{"a":"é"}', true],
        [2, '', true],
        [3, '{"b":"€"}\r', true],
        [4, '{"c":"😀\u2028"}', true],
        [5, 'rest', false],
      ]);
    }
  });

  it.each([1, 3, 1000])('end where one is too long, in chunks of %i', (size) => {
    const long = Buffer.from('12345\n123456\n1\n');
    const chunks = Array.from({ length: Math.ceil(long.length / size) }, (_, i) =>
      long.subarray(i * size, (i + 1) * size),
    );
    const lines = [...splitLines(chunks, 5)].map(({ number, bytes }) => [
      number,
      bytes?.length ?? null,
    ]);
    expect(lines).toEqual([
      [1, 5],
      [2, null],
    ]);
  });

  it('one that was cut off is left out where its writer may have died', () => {
    const torn = fileOf('torn.jsonl', '{"a":1}\n{"a":');
    expect([...jsonLinesOf(torn, { last: 'ignore' })]).toEqual([{ number: 1, value: { a: 1 } }]);
    expect(() => [...jsonLinesOf(torn, { last: 'read' })]).toThrow(
      /torn\.jsonl, line 2 is not JSON/,
    );
    const whole = fileOf('whole.jsonl', '{"a":1}\n{"a":2}');
    expect([...jsonLinesOf(whole, { last: 'read' })]).toHaveLength(2);
  });

  it.runIf(process.env.GENAC_TEST_BIG)('of a file that no string holds, in little memory', () => {
    const path = join(scratch, 'trajectories.jsonl');
    const segment = { text: '', tokens: 1, value: 0, used_value: 0, advantage: 0, parsed: 'ok' };
    const record = { iteration: 0, problem: 'p', prompt: '', response: '', reward: 1 };
    const line = JSON.stringify({
      ...record,
      segments: [{ ...segment, rationale: 'é'.repeat(5e5) }],
    });
    for (let i = 0; i < 600; i++) appendFileSync(path, `${line}\n`);
    writeFileSync(join(scratch, 'config.yaml'), '');
    expect(statSync(path).size).toBeGreaterThan(2 ** 29);
    expect(inspectRun(scratch, { count: 2, order: 'best' }).trajectories).toHaveLength(2);
    expect(process.resourceUsage().maxRSS).toBeLessThan(600 * 1024);
  });

  it('one that is too long, or not UTF-8, is named', () => {
    const long = fileOf('long.jsonl', `1\n"${'x'.repeat(2 ** 20)}"\n`);
    expect(() => [...jsonLinesOf(long, { last: 'read', longest: 2 ** 20 })]).toThrow(
      `${long}, line 2 has more than 1 MiB: shorten or remove it`,
    );
    const latin = fileOf('latin.jsonl', Buffer.from('1\n"\xe9"\n', 'latin1'));
    expect(() => [...jsonLinesOf(latin, { last: 'read' })]).toThrow(
      `${latin}, line 2 is not UTF-8`,
    );
  });
});

describe('a damaged line of a run folder is one sentence with its file and number', () => {
  const good = JSON.stringify({
    type: 'iteration',
    stage: 'joint',
    iteration: 0,
    seconds: 1,
    reward: 1,
  });
  it.each([
    ['null', 'is not a line of metrics (null: '],
    ['{"type":"iteration"}', 'is not a line of metrics (stage: missing: '],
    [
      good.replace('"iteration":0', '"iteration":"<b>"'),
      'is not a line of metrics (iteration: "<b>": ',
    ],
    ['{"type":', 'is not JSON ('],
    ['\0\0\0', 'is not JSON ('],
  ])('metrics: %j', (line, words) => {
    fileOf('metrics.jsonl', `${good}\n${line}\n${good}\n`);
    const read = () => [...metricsOf(scratch)];
    expect(read).toThrow(`${join(scratch, 'metrics.jsonl')}, line 2 ${words}`);
    expect(read).toThrow(/: mend or remove it$/);
  });

  it('trajectories and settings', () => {
    fileOf('trajectories.jsonl', '{"iteration":0,"segments":5}\n');
    expect(() => readTrajectories(scratch)).toThrow(
      'trajectories.jsonl, line 1 is not a trajectory (',
    );
    fileOf('settings.jsonl', '{"stage":"joint","iteration":-1,"values":{}}\n');
    expect(() => readSettings(scratch)).toThrow(
      'settings.jsonl, line 1 is not a changed setting (iteration: -1',
    );
  });
});

describe('what stands in the place of a file is one sentence, at once', () => {
  const place = (name: string) => join(scratch, name);
  it.each([
    ['folder', () => mkdirSync(place('folder')), 'it is a folder, not a file'],
    [
      'fifo',
      () => execFileSync('mkfifo', [place('fifo')]),
      'it is a FIFO (a named pipe), not a file',
    ],
    ['absent', () => {}, 'there is no such file'],
    [
      'binary',
      () => fileOf('binary', Buffer.from([0xff, 0xfe, 0, 1])),
      'it is not text (not UTF-8)',
    ],
    ['big', () => fileOf('big', Buffer.alloc(17 * 2 ** 20)), 'it has more than 16 MiB'],
  ])('%s', (name, make, words) => {
    make();
    expect(() => readText(place(name))).toThrow(`${place(name)} can't be read: ${words}`);
  });
  it('a device, and a path that is none', () => {
    expect(() => readText('/dev/zero')).toThrow(
      "/dev/zero can't be read: it is a device, not a file",
    );
    expect(() => readText('a\0b')).toThrow(/can't be read: .*null bytes/);
  });
});
