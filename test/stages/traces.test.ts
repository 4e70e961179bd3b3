/** Files of traces: read line by line; what is no trace is named by file and line. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import { traceOf } from '../../src/stages/questions.ts';
import { readTraceFile, traceSources, writeTraceFile } from '../../src/stages/traces.ts';
import { paperFormat } from '../../src/text/critic-prompt.ts';

const scratch = mkdtempSync(join(tmpdir(), 'genac-traces-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const fileOf = (content: string) => {
  const path = join(scratch, 'traces.jsonl');
  writeFileSync(path, content);
  return path;
};
const trace = {
  prompt: 'p',
  partial_response: '',
  rationale: 'é',
  score: 5,
  observed_outcome: 0.5,
};
const good = JSON.stringify(trace);

describe('a file of traces', () => {
  it('is read with blank lines and without a last line feed, and is the same once written', async () => {
    const read = readTraceFile(fileOf(`${good}\n\n${good}`));
    expect(read.map(({ state, rationale }) => [state.id, rationale])).toEqual([
      ['trace-0', 'é'],
      ['trace-2', 'é'],
    ]);
    const path = join(scratch, 'again', 'traces.jsonl');
    await writeTraceFile(path, read);
    const again = readTraceFile(path);
    expect(again.map(({ rationale, score, observed }) => ({ rationale, score, observed }))).toEqual(
      [
        { rationale: 'é', score: 5, observed: 0.5 },
        { rationale: 'é', score: 5, observed: 0.5 },
      ],
    );
  });

  it.each([
    ['null', 'line 2 is no trace:\n  null: '],
    ['{"prompt":', 'line 2 is not JSON ('],
    [JSON.stringify({ ...trace, score: 'x' }), 'line 2 is no trace:\n  score: "x": '],
    [`{"rationale":"${'x'.repeat(2 ** 24)}"}`, 'line 2 has more than 16 MiB: shorten or remove it'],
  ])('a damaged line is named: %#', (line, words) => {
    const path = fileOf(`${good}\n${line}\n${good}\n`);
    expect(() => readTraceFile(path)).toThrow(`${path}, ${words}`);
  });

  it.each([
    ['', 'nowhere.jsonl', /nowhere\.jsonl can't be read: there is no such file/],
    ['', '.', /can't be read: it is a folder, not a file/],
    ['\n', 'traces.jsonl', /no traces in it/],
  ])('and so is what is none: %#', (content, name, words) => {
    fileOf(content);
    expect(() => readTraceFile(join(scratch, name))).toThrow(words);
  });
});

it('an answer that no critic would write is a trace without a score, cut', () => {
  const asked = { state: {} as never, observed: 1 };
  const long = traceOf(asked, `${'x'.repeat(2e6)}<score>5</score>`, paperFormat);
  expect(long.score).toBeNaN();
  expect(long.rationale.length).toBeLessThan(1.001e6);
});

it('of a file, every trace that passes the filter is learned from once in a pass', () => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { minLength: 20, maxLength: 60 }),
      fc.integer({ min: 1, max: 40 }),
      (agrees, batch) => {
        const lines = agrees.map((agree, i) =>
          JSON.stringify({
            ...{ ...trace, partial_response: `${i}` },
            observed_outcome: agree ? 0.5 : 0,
          }),
        );
        const critic_sft = configSchema.shape.critic_sft.parse({
          ...{ batch, agreement: 0.2, traces: fileOf(lines.join('\n')) },
        });
        const { train } = traceSources({ seed: 1, critic_sft }, null, paperFormat);
        // A twentieth is held out.
        const held = Math.max(1, Math.floor(agrees.length / 20));
        const size = agrees.length - held;
        const seen = new Map<string, number>();
        const passed = () => train.kept + train.dropped.disagrees;
        fc.pre(agrees.filter(Boolean).length > held + 3);
        while (passed() < 5 * size)
          for (const { state } of train.take(batch))
            seen.set(state.response, (seen.get(state.response) ?? 0) + 1);
        expect(train.dropped.unparsable).toBe(0);
        const counts = [...seen.values()];
        expect(Math.min(...counts)).toBeGreaterThanOrEqual(5);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(
          Math.ceil(batch / counts.length) + 1,
        );
        expect(counts.length).toBeGreaterThanOrEqual(agrees.filter(Boolean).length - held);
      },
    ),
    { numRuns: 30 },
  );
});

it.each([
  [20, 10],
  [2, 100],
  [1, 40],
])(
  'of a file of %i problems with %i traces each, none is held out that is learned from',
  (problems, each) => {
    const lines = Array.from({ length: problems * each }, (_, i) =>
      JSON.stringify({ ...trace, prompt: `p${i % problems}`, partial_response: `${i}` }),
    );
    const traces = fileOf(lines.join('\n'));
    const critic_sft = configSchema.shape.critic_sft.parse({ traces, agreement: 1 });
    const { train, heldOut } = traceSources({ seed: 1, critic_sft }, null, paperFormat);
    const promptOf = ({ state }: (typeof heldOut)[number]) => state.problem.prompt as string;
    const held = new Set(heldOut.map(promptOf));
    const size = problems * each - heldOut.length;
    const learned = train.take(size);
    expect(heldOut.length).toBeGreaterThanOrEqual((problems * each) / 20);
    // Few problems: one would be too much to hold out, so it is traces.
    expect(heldOut.length).toBeLessThanOrEqual((problems * each) / 10);
    expect(new Set(learned.map(({ state }) => state.response)).size).toBe(size);
    if (problems > 4) expect(learned.filter((one) => held.has(promptOf(one)))).toEqual([]);
  },
);
