/**
 * `genac reproduce --size tiny`: every table's code, from nothing, and once more from what is kept.
 */
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { reproduce, tables } from '../../src/reproduction/reproduce.ts';

const folder = join(mkdtempSync(join(tmpdir(), 'genac-reproduce-')), 'reproduction');

it('makes every table that there is, and goes on with what it kept', async () => {
  const said: string[] = [];
  const log = (text: string) => void said.push(text);
  const first = await reproduce({ folder, size: 'tiny', log });
  expect(first.tables.map(({ number }) => number)).toEqual(
    tables.map(({ number }) => number).sort((a, b) => a - b),
  );
  for (const { number, blocks } of first.tables) {
    const cells = blocks.flatMap(({ rows }) => rows.flatMap((row) => row.cells));
    expect([number, cells.some((cell) => cell !== null)]).toEqual([number, true]);
    for (const { rows, columns } of blocks)
      for (const { name, cells: own } of rows)
        expect([name, own.length]).toEqual([name, columns.length]);
  }
  // The upper bound has no error on an actor that no RL changed, whatever the size.
  const errors = first.tables.find(({ number }) => number === 3)!.blocks[0]!;
  const exact = errors.rows.find(({ name }) => name === 'oracle')!;
  for (const [i, cell] of exact.cells.entries())
    if (!errors.columns[i]!.endsWith('-actor')) expect(cell!.value).toBeLessThan(1e-9);

  const page = readFileSync(join(folder, 'index.html'), 'utf8');
  expect(page).toContain('its figures mean nothing');
  expect(page).not.toMatch(/src="http/);
  for (const name of ['results.md', 'figures.csv', 'results.json', 'table-4.svg'])
    expect(existsSync(join(folder, name))).toBe(true);

  const before = said.filter((line) => / done in /.test(line)).length;
  const second = await reproduce({ folder, size: 'tiny', log });
  expect(said.filter((line) => / done in /.test(line))).toHaveLength(before);
  expect(JSON.stringify(second)).toBe(JSON.stringify(first));
}, 600_000);
