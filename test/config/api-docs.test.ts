/** docs/oracles.md says what is there. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import type { ZodObject, ZodType } from 'zod';
import { columnsSchema, layouts } from '../../plugins/tasks/logged/columns.ts';
import logged from '../../plugins/tasks/logged.ts';
import { apiSchema } from '../../src/config/api.ts';

const text = readFileSync(new URL('../../docs/oracles.md', import.meta.url), 'utf8');
const namesOf = (schema: unknown) =>
  Object.keys((schema as ZodObject<Record<string, ZodType>>).shape);

it('has blocks of under ten lines that are valid', () => {
  const blocks = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1]!);
  expect(blocks).toHaveLength(3);
  for (const block of blocks) {
    expect(block.trim().split('\n').length).toBeLessThan(10);
    const { critic_sft, task } = parse(block);
    if (critic_sft) expect(apiSchema.safeParse(critic_sft.traces.api).error).toBeUndefined();
    if (!task) continue;
    const { use, ...options } = task;
    expect(use).toBe('logged');
    expect(logged.options.safeParse(options).error).toBeUndefined();
  }
});

it('names every option in a table', () => {
  const rows = text.split('\n').filter((line) => line.startsWith('| `'));
  const named = new Set(
    rows.flatMap((row) => [...row.split('|')[1]!.matchAll(/`([^`]+)`/g)].map((m) => m[1])),
  );
  const options = namesOf(logged.options).filter((name) => name !== 'heldout');
  for (const name of [
    ...namesOf(apiSchema),
    ...options,
    ...namesOf(columnsSchema),
    'heldout.share',
    'heldout.seed',
  ])
    expect(named, name).toContain(name);
  for (const layout of Object.keys(layouts)) expect(text).toContain(`\`${layout}\``);
});
