// Module hooks for the files that a user names: what they may import by name, and that they are ES modules wherever they lie. Plain JavaScript, for on Node 20
// hooks run in a thread of their own, where nothing is compiled.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

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

/** The same for hooks that run in this thread. @param {string} specifier @param {any} context @param {any} next */
export function resolveSync(specifier, context, next) {
  return asModule(next(packages[specifier] ?? specifier, context));
}

const statement = /^[ \t]*(?:import|export)\b/m;

/** @param {any} resolved */
function asModule(resolved) {
  const { url, format } = resolved;
  if (format === 'module' || format === 'module-typescript') return resolved;
  if (!url.startsWith('file:') || !/\.(?:js|ts)(?:\?|$)/.test(url)) return resolved;
  let text;
  try {
    text = readFileSync(fileURLToPath(url), 'utf8');
  } catch {
    return resolved;
  }
  if (!statement.test(text)) return resolved;
  // tsx compiles what it is told is a module; without it, as in a wheel, Node strips the types itself.
  const stripped = packages.genac?.endsWith('.js') && /\.ts(?:\?|$)/.test(url);
  return { ...resolved, format: stripped ? 'module-typescript' : 'module' };
}
