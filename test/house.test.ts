/** What must stay of the house: which room may look into which, and how large a file may grow. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Paths of a folder's code, relative to the checkout. */
const codeIn = (folder: string, ending: RegExp): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter(
      (path) => ending.test(path) && !/node_modules|\.venv|__pycache__|\.egg-info/.test(path),
    );

const sources = codeIn('src', /(?<!\.d)\.m?[jt]s$/);
const read = (path: string) => readFileSync(join(root, path), 'utf8');

/** What a file imports of the checkout, types counted, in its order. */
function importsOf(path: string): { readonly target: string; readonly typesOnly: boolean }[] {
  const statement =
    /(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'(\.[^']+)'|import\('(\.[^']+)'\)/g;
  return [...read(path).matchAll(statement)].map(([, type, from, lazy]) => ({
    target: normalize(join(dirname(path), (from ?? lazy)!)),
    typesOnly: type !== undefined,
  }));
}

/** The first circle that is found, as a path that ends where it began; null: there is none. */
function circleIn(graph: ReadonlyMap<string, ReadonlySet<string>>): string[] | null {
  const done = new Set<string>();
  const walk = (node: string, path: readonly string[]): string[] | null => {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node];
    if (done.has(node)) return null;
    for (const next of graph.get(node) ?? []) {
      const circle = walk(next, [...path, node]);
      if (circle) return circle;
    }
    done.add(node);
    return null;
  };
  for (const node of graph.keys()) {
    const circle = walk(node, []);
    if (circle) return circle;
  }
  return null;
}

function graphOf(nameOf: (path: string) => string): Map<string, Set<string>> {
  const graph = new Map<string, Set<string>>();
  for (const path of sources) {
    const from = nameOf(path);
    const known = graph.get(from) ?? graph.set(from, new Set()).get(from)!;
    for (const { target } of importsOf(path)) {
      if (target.startsWith('src/') && nameOf(target) !== from) known.add(nameOf(target));
    }
  }
  return graph;
}

/** `src/run/steering.ts` is of the room `run`, `src/credit.ts` a room of its own. */
const roomOf = (path: string) => path.split('/')[1]!;

it('finds a circle where there is one', () => {
  const graph = new Map([
    ['a', new Set(['b'])],
    ['b', new Set(['c'])],
    ['c', new Set(['b'])],
  ]);
  expect(circleIn(graph)).toEqual(['b', 'c', 'b']);
  expect(importsOf('src/credit.ts').map(({ target }) => target)).toContain('src/math/advantage.ts');
});

it('no files import each other in a circle, types counted', () => {
  expect(circleIn(graphOf((path) => path))).toBeNull();
});

it('no rooms import each other in a circle, types counted', () => {
  expect(circleIn(graphOf(roomOf))).toBeNull();
});

it.each(['math', 'text'])('%s imports its own files, and of others types alone', (room) => {
  const foreign = sources
    .filter((path) => roomOf(path) === room)
    .flatMap((path) => importsOf(path).map((one) => ({ ...one, path })))
    .filter(({ target, typesOnly }) => roomOf(target) !== room && !typesOnly);
  expect(foreign).toEqual([]);
});

it('plugins import the plugin API, each other, and nothing else of the checkout', () => {
  const plugins = [...codeIn('plugins/tasks', /\.ts$/), ...codeIn('plugins/critics', /\.ts$/)];
  expect(plugins.length).toBeGreaterThan(10);
  const foreign = plugins
    .flatMap((path) => importsOf(path).map(({ target }) => `${path} -> ${target}`))
    .filter((arrow) => !/-> (src\/plugin-api\.ts|plugins\/)/.test(arrow));
  expect(foreign).toEqual([]);
});

it('src names no critic: what one can do, its plugin says', () => {
  const names = codeIn('plugins/critics', /^plugins\/critics\/[^/]+\.ts$/).map((path) =>
    path.replace(/^.*\/|\.ts$/g, ''),
  );
  expect(names).toContain('generative');
  const compared = new RegExp(`[!=]==? '(${names.join('|')})'|critic: '(${names.join('|')})'`);
  // The demo's recipe is a config. The gate's fallback is the group's mean, and stage 1's traces
  // come from an oracle; both are called so.
  const said = (path: string) =>
    read(path).replace(/fallback === 'group-mean'|traces [!=]== 'oracle'/g, '');
  const naming = sources.filter(
    (path) => path !== 'src/cli/demo-plan.ts' && compared.test(said(path)),
  );
  expect(naming).toEqual([]);
});

it('no file has more than 400 lines', () => {
  const code = ['src', 'plugins', 'python_bridge', 'bench', 'test', 'examples'].flatMap((folder) =>
    codeIn(folder, /\.(m?[jt]s|py)$/),
  );
  expect(code.length).toBeGreaterThan(250);
  const long = code
    .map((path) => `${path}: ${read(path).split('\n').length - 1}`)
    .filter((line) => Number(line.split(': ')[1]) > 400);
  expect(long).toEqual([]);
});

it('no comment is wider than 100 columns', () => {
  const comment = { ts: /^\s*(\/\/|\*|\/\*)/, py: /^\s*#/ };
  const files = ['src', 'plugins', 'test', 'bench', 'examples', 'python_bridge'].flatMap((folder) =>
    codeIn(folder, /(?<!\.d)\.m?[jt]s$|\.py$/),
  );
  const wide = files.flatMap((path) => {
    const begin = path.endsWith('.py') ? comment.py : comment.ts;
    return read(path)
      .split('\n')
      .flatMap((line, i) =>
        [...line].length > 100 && begin.test(line) && !line.includes('https://')
          ? [`${path}:${i + 1}`]
          : [],
      );
  });
  expect(wide).toEqual([]);
});
