/**
 * The token of a TCP endpoint, which is handed over by the environment or by a file, and never on a
 * command line.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readText } from '../files/text-file.ts';
import { BridgeError } from './errors.ts';

/** Fewer characters could be guessed. */
const SHORTEST = 16;

export interface Token {
  readonly token: string;
  /** The file that holds it, of mode 0600; null: the environment does. */
  readonly file: string | null;
  /** Removes the file, if it was made here. */
  forget(): void;
}

/**
 * The token that `GENAC_TOKEN` holds, or the file that `GENAC_TOKEN_FILE` names; else a new one, in
 * a file of a folder of its own (mode 0700).
 */
export function endpointToken(environment: NodeJS.ProcessEnv = process.env): Token {
  const { GENAC_TOKEN: given, GENAC_TOKEN_FILE: named } = environment;
  if (given) return { token: checked(given, 'GENAC_TOKEN'), file: null, forget: () => {} };
  if (named)
    return { token: checked(readText(named).trim(), named), file: named, forget: () => {} };
  const folder = mkdtempSync(join(tmpdir(), 'genac-token-'));
  const file = join(folder, 'token');
  const token = randomBytes(24).toString('base64url');
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  return { token, file, forget: () => rmSync(folder, { recursive: true, force: true }) };
}

function checked(token: string, where: string): string {
  if (token.length >= SHORTEST && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new BridgeError(
    'refused',
    `the token in ${where} must have at least ${SHORTEST} characters, all of them visible ASCII`,
  );
}
