import { existsSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inOrder, keyOf, type Lane, type Part, runParts } from '../../src/reproduction/parts.ts';
import type { WorkerGroup } from '../../src/workers/local.ts';

const folder = () => mkdtempSync(join(tmpdir(), 'genac-parts-'));
const lane: Lane = { take: async () => ({}) as WorkerGroup, give: async () => {} };
const never = new AbortController().signal;

function part<R>(name: string, run: Part<R>['run'], changes: Partial<Part<R>> = {}): Part<R> {
  return { ...{ name, seed: 0, version: 1, options: {}, after: [] }, run, ...changes };
}

const given = (at: string, lanes = 1, signal = never) => ({
  ...{
    folder: join(at, 'parts'),
    base: '.',
    lanes: new Array<Lane>(lanes).fill(lane),
    lean: false,
    signal,
    log: () => {},
  },
});

describe("a part's key", () => {
  const one = part('one', async () => 1);
  it('is that of all that the result depends on', () => {
    const changed: Partial<Part<number>>[] = [
      { name: 'other' },
      { seed: 1 },
      { version: 2 },
      { options: { steps: 3 } },
      { after: [part('base', async () => 0)] },
      { after: [part('base', async () => 0, { version: 2 })] },
    ];
    const keys = [one, ...changed.map((change) => part('one', one.run, change))].map(keyOf);
    expect(new Set(keys).size).toBe(7);
    expect(keyOf(part('one', async () => 2))).toBe(keyOf(one));
  });
});

describe('parts', () => {
  it('are in an order in which they can be run, each once', () => {
    const base = part('base', async () => 0);
    const again = part('base', async () => 0);
    const [a, b] = [{ after: [base] }, { after: [again] }].map((change, i) =>
      part(`part-${i}`, async () => i, change),
    );
    expect(inOrder([a!, b!]).map(({ name }) => name)).toEqual(['base', 'part-0', 'part-1']);
  });

  it('see the results of those that they name, and are never run again', async () => {
    const at = folder();
    let runs = 0;
    const base = part('base', async () => {
      runs++;
      return { value: 20, low: Number.NaN };
    });
    const sum = part(
      'sum',
      async (work) => {
        runs++;
        expect(work.folder.startsWith(join(at, 'parts', 'sum-'))).toBe(true);
        return work.resultOf(base).value + 1;
      },
      { after: [base] },
    );
    const first = await runParts([sum], given(at));
    expect([first.resultOf(sum), runs]).toEqual([21, 2]);
    // As JSON has it, in this process as in the next one.
    expect(first.resultOf(base)).toEqual({ value: 20, low: null });
    expect(existsSync(join(first.folderOf(sum), 'result.json'))).toBe(true);
    const second = await runParts([sum], given(at));
    expect([second.resultOf(sum), runs]).toEqual([21, 2]);
    expect(second.seconds).toEqual(first.seconds);
    writeFileSync(join(first.folderOf(sum), 'result.json'), '{"result": 21, "sec');
    const said: string[] = [];
    const third = await runParts([sum], { ...given(at), log: (text) => void said.push(text) });
    expect([third.resultOf(sum), runs]).toEqual([21, 3]);
    expect(said[0]).toMatch(/sum-.*result\.json can't be read .*: the part is made again/);
    const newer = part('sum', async () => 5, { after: [base], version: 2 });
    expect((await runParts([newer], given(at))).resultOf(newer)).toBe(5);
    expect(runs).toBe(3);
  });

  it('that are independent run at the same time, in as many lanes as there are', async () => {
    let [now, most] = [0, 0];
    const busy = async () => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 10));
      now--;
    };
    const all = [0, 1, 2, 3].map((seed) => part('busy', busy, { seed }));
    await runParts(all, given(folder(), 2));
    expect(most).toBe(2);
  });

  it('that fail end the others behind the part in hand, and what is done stays', async () => {
    const at = folder();
    const good = part('good', async () => 1);
    const bad = part(
      'bad',
      async () => {
        throw new Error('no such model');
      },
      { after: [good] },
    );
    const later = part('later', async () => 2, { after: [bad] });
    await expect(runParts([later], given(at, 2))).rejects.toThrow('no such model');
    const kept = readdirSync(join(at, 'parts')).filter((name) =>
      existsSync(join(at, 'parts', name, 'result.json')),
    );
    expect(kept.map((name) => name.split('-')[0])).toEqual(['good']);
  });

  it('end soon when they are stopped, and the same call goes on', async () => {
    const at = folder();
    const stopping = new AbortController();
    let tries = 0;
    const long = part('long', async ({ signal }) => {
      tries++;
      if (tries === 1) stopping.abort(new Error('stopped'));
      signal.throwIfAborted();
      return 3;
    });
    const next = part('next', async () => 4, { after: [long] });
    await expect(runParts([next], given(at, 2, stopping.signal))).rejects.toThrow('stopped');
    const { resultOf } = await runParts([next], given(at, 2));
    expect([resultOf(long), resultOf(next), tries]).toEqual([3, 4, 2]);
  });

  it('take fresh workers where a lane has them, and give them back after a fault', async () => {
    const open: number[] = [];
    let taken = 0;
    const lane: Lane = {
      take: async () => ({ number: open.push(taken++) }) as unknown as WorkerGroup,
      give: async () => void open.pop(),
    };
    const seen: number[] = [];
    const good = part('good', async () => seen.push(open.length));
    const bad = part(
      'bad',
      async () => {
        seen.push(open.length);
        throw new Error('no memory');
      },
      { after: [good] },
    );
    const lanes = { ...given(folder()), lanes: [lane] };
    await expect(runParts([bad], lanes)).rejects.toThrow('no memory');
    expect([seen, taken, open]).toEqual([[1, 1], 2, []]);
  });

  it('may use no part that they do not name', async () => {
    const hidden = part('hidden', async () => 1);
    const user = part('user', async (work) => work.resultOf(hidden));
    await expect(runParts([user], given(folder()))).rejects.toThrow(/used by a part that does not/);
  });
});
