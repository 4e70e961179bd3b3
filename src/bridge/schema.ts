import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * Where `write-schema.ts` puts the wire's JSON Schema: beside this file, and the same bytes into
 * the Python package.
 */
export const schemaPaths = [
  './schema.json',
  '../../python_bridge/genac_bridge/wire/schema.json',
].map((path) => fileURLToPath(new URL(path, import.meta.url)));

/**
 * First 16 hex digits of the SHA-256 of the schema file's bytes, which are canonical; Python
 * computes the same of its copy.
 */
export function hashOf(schema: string | Buffer): string {
  return createHash('sha256').update(schema).digest('hex').slice(0, 16);
}

let hash: string | undefined;

/** The hash that `hello` carries. */
export function schemaHash(): string {
  hash ??= hashOf(readFileSync(schemaPaths[0]!));
  return hash;
}
