/** What the documents say of the code is there: links, names of tests, snippets. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { ZodObject, ZodType } from 'zod';
import type { TaskPlugin } from '../src/task.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const documents = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
];

describe.each(documents)('%s', (document) => {
  it('has links that lead somewhere', () => {
    const links = [...read(document).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(
      (match) => match[1]!,
    );
    expect(links.filter((link) => !existsSync(join(root, dirname(document), link)))).toEqual([]);
  });
});

it('README’s TypeScript is in the examples, word for word, which are type-checked', () => {
  const snippets = [...read('README.md').matchAll(/```ts\n([\s\S]*?)```/g)].map(
    (match) => match[1]!,
  );
  expect(snippets.length).toBeGreaterThan(0);
  const names = readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.ts'));
  const examples = names.map((name) => read(`examples/${name}`));
  for (const snippet of snippets)
    expect(examples.some((text) => text.includes(snippet))).toBe(true);
});

it('the paper’s map names tests that exist', () => {
  const named = [
    ...read('docs/paper-map.md').matchAll(
      /\]\(\.\.\/((?:test|python_bridge\/tests)\/[^)]+)\): ((?:\*[^*]+\*(?:, )?)+)/g,
    ),
  ];
  const missing = named.flatMap(([, path, names]) =>
    [...names!.matchAll(/\*([^*]+)\*/g)]
      .map((match) => match[1]!)
      .filter((name) => !read(path!).includes(name)),
  );
  expect(named.length).toBeGreaterThan(20);
  expect(missing).toEqual([]);
});

describe('docs/tasks.md', () => {
  const text = read('docs/tasks.md');

  it('has task blocks of under ten lines that are valid', async () => {
    const blocks = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1]!);
    expect(blocks).toHaveLength(3);
    for (const block of blocks) {
      expect(block.trim().split('\n').length).toBeLessThan(10);
      const { use, ...options } = parse(block).task;
      expect((await pluginOf(use)).options.safeParse(options).error).toBeUndefined();
    }
  });

  it.each(['jsonl', 'huggingface', 'reasoning-gym'])(
    'names every option of %s in a table',
    async (name) => {
      const rows = text.split('\n').filter((line) => line.startsWith('| `'));
      const named = new Set(
        rows.flatMap((row) => [...row.split('|')[1]!.matchAll(/`([^`]+)`/g)].map((m) => m[1])),
      );
      const { shape } = (await pluginOf(name)).options as ZodObject<Record<string, ZodType>>;
      const { heldout, ...others } = shape;
      const inner = heldout
        ? Object.keys((heldout as unknown as { unwrap(): ZodObject }).unwrap().shape)
        : [];
      const options = [...Object.keys(others), ...inner.map((option) => `heldout.${option}`)];
      expect(options.filter((option) => !named.has(option))).toEqual([]);
    },
  );
});

async function pluginOf(name: string): Promise<TaskPlugin> {
  return (await import(join(root, `plugins/tasks/${name}.ts`))).default;
}
