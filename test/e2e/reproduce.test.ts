/**
 * `genac reproduce --size tiny`: every table's code, from nothing, and once more from what is kept.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
  for (const name of ['results.md', 'figures.csv', 'results.json', 'table-1.svg', 'table-4.svg'])
    expect(existsSync(join(folder, name))).toBe(true);

  const before = said.filter((line) => / done in /.test(line)).length;
  const second = await reproduce({ folder, size: 'tiny', log });
  expect(said.filter((line) => / done in /.test(line))).toHaveLength(before);
  expect(JSON.stringify(second)).toBe(JSON.stringify(first));

  // A process that was killed behind a run's last checkpoint, before it could say so.
  const parts = join(folder, 'parts');
  const name = readdirSync(parts).find((one) => one.startsWith('generative-sft'))!;
  const part = join(parts, name);
  const status = JSON.parse(readFileSync(join(part, 'run/status.json'), 'utf8'));
  expect(status.state).toBe('done');
  const { pid } = spawnSync(process.execPath, ['--version']);
  const killed = { ...status, pid, state: 'running' };
  writeFileSync(join(part, 'run/status.json'), JSON.stringify(killed));
  const kept = JSON.parse(readFileSync(join(part, 'result.json'), 'utf8'));
  rmSync(join(part, 'result.json'));
  const third = await reproduce({ folder, size: 'tiny', log });
  expect(said.filter((line) => / done in /.test(line))).toHaveLength(before + 1);
  expect(third.tables).toEqual(first.tables);
  expect(JSON.parse(readFileSync(join(part, 'result.json'), 'utf8')).result).toEqual(kept.result);
}, 600_000);
