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
const pages = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.md'))
  .sort();
const documents = ['README.md', 'CHANGELOG.md', ...pages.map((name) => `docs/${name}`)];

/** The lines of a page's sentences: no code, no tables, nothing that a script wrote. */
const linesOf = (text: string): string[] =>
  text
    .replaceAll(/```[\s\S]*?```/g, '')
    .replaceAll(/<!-- architectures -->[\s\S]*?<!-- end -->/g, '')
    .split('\n')
    .filter((line) => !line.startsWith('|') && !line.startsWith('    '));

/** As GitHub makes them of headings: `## metrics.jsonl` is `#metricsjsonl`. */
const anchorsOf = (text: string): string[] =>
  [...text.replaceAll(/```[\s\S]*?```/g, '').matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} -]/gu, '')
      .replaceAll(' ', '-'),
  );

describe.each(documents)('%s', (document) => {
  it('has links that lead somewhere', () => {
    const links = [...read(document).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(
      (match) => match[1]!,
    );
    expect(links.filter((link) => !existsSync(join(root, dirname(document), link)))).toEqual([]);
  });

  it('has links to headings that exist', () => {
    const links = [...read(document).matchAll(/\]\((?!https?:)([^)#]*)#([^)]+)\)/g)];
    const missing = links.filter(([, path, anchor]) => {
      const page = path === '' ? document : join(dirname(document), path!);
      return !anchorsOf(read(page)).includes(anchor!);
    });
    expect(missing.map(([link]) => link)).toEqual([]);
  });

  it('has one sentence a line, so that no line is longer than 300 characters', () => {
    const lines = linesOf(read(document));
    expect(lines.length).toBeGreaterThan(5);
    expect(lines.filter((line) => line.length > 300)).toEqual([]);
  });
});

it('a line of a page is measured, and one of a table or of code is not', () => {
  const long = 'x'.repeat(301);
  const page = ['# Page', long, `| ${long} |`, `    ${long}`, '```ts', long, '```'].join('\n');
  expect(linesOf(page).filter((line) => line.length > 300)).toEqual([long]);
});

it('every page is in the index of docs/README.md', () => {
  const linked = new Set(
    [...read('docs/README.md').matchAll(/\]\(([^)#]+)/g)].map((match) => match[1]!),
  );
  expect(pages.length).toBeGreaterThan(20);
  expect(pages.filter((page) => page !== 'README.md' && !linked.has(page))).toEqual([]);
});

describe.each(readdirSync(join(root, 'plugins/critics')).filter((name) => name.endsWith('.ts')))(
  'plugins/critics/%s',
  (file) => {
    it('has a page that names every option in a table, and no other', async () => {
      const text = read(`docs/critics/${file.replace(/\.ts$/, '.md')}`);
      const table = text.split('\n## ').find((section) => section.startsWith('Options'))!;
      const named = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]!);
      const { default: critic } = await import(join(root, 'plugins/critics', file));
      const { shape } = critic.options as ZodObject<Record<string, ZodType>>;
      expect(named.sort()).toEqual(Object.keys(shape).sort());
    });
  },
);

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
