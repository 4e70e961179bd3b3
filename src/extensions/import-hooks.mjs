// Module hooks for the files that a user names: what they may import by name, and that they are ES
// modules wherever they lie. Plain JavaScript, for on Node 20 hooks run in a thread of their own,
// where nothing is compiled.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileFunction } from 'node:vm';

/** @type {Record<string, string>} */
let packages = {};

/** @param {Record<string, string>} given URLs by name */
export function initialize(given) {
  packages = given;
}

/** @param {string} specifier @param {any} context @param {any} next */
export async function resolve(specifier, context, next) {
  return asModule(await next(packages[specifier] ?? specifier, context));
}

/**
 * The same for hooks that run in this thread. @param {string} specifier @param {any} context @param
 * {any} next
 */
export function resolveSync(specifier, context, next) {
  return asModule(next(packages[specifier] ?? specifier, context));
}

/** Comments and texts, which may hold anything. */
const hidden =
  /\/\*[\s\S]*?\*\/|\/\/.*|"(?:[^"\\\n]|\\[\s\S])*"|'(?:[^'\\\n]|\\[\s\S])*'|`(?:[^`\\]|\\[\s\S])*`/g;
const statement = /(?:^|[;}])[ \t]*(?:import\b(?!\s*\()|export\b)/m;
/** What V8 says of the statements of a module in what is none. */
const moduleError = /import statement|import\.meta|token 'export'/;
/** What Node gives to a CommonJS file. */
const given = ['exports', 'require', 'module', '__filename', '__dirname'];

/**
 * Has a file `import` or `export` statements? Of JavaScript V8 says so: it compiles the file as
 * CommonJS, and runs none of it.
 * @param {string} text @param {boolean} typed
 */
export function isModule(text, typed) {
  if (!typed) {
    try {
      compileFunction(text.replace(/^\ufeff?#!.*/, ''), given);
      return false;
    } catch (error) {
      if (moduleError.test(String(error))) return true;
    }
  }
  const bare = text.replace(hidden, (found) => (found.startsWith('/') ? ' ' : '""'));
  if (statement.test(bare)) return true;
  // A pattern with a quote in it may hide more than it should.
  return statement.test(text) && !/\bmodule\.exports\b|\brequire\s*\(/.test(bare);
}

/** @param {any} resolved */
function asModule(resolved) {
  const { url, format } = resolved;
  if (format === 'module' || format === 'module-typescript') return resolved;
  if (!url.startsWith('file:') || !/\.(?:js|ts)(?:\?|$)/.test(url)) return resolved;
  const typed = /\.ts(?:\?|$)/.test(url);
  let text;
  try {
    text = readFileSync(fileURLToPath(url), 'utf8');
  } catch {
    return resolved;
  }
  if (!isModule(text, typed)) return resolved;
  // tsx compiles what it is told is a module; without it, as in a wheel, Node strips the types
  // itself.
  const stripped = packages.genac?.endsWith('.js') && typed;
  return { ...resolved, format: stripped ? 'module-typescript' : 'module' };
}
