import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { endpointToken } from '../../src/bridge/token.ts';

it('a token is the environment’s, a file’s, or a new one that its owner alone can read', () => {
  const made = endpointToken({});
  expect(made.token.length).toBeGreaterThanOrEqual(32);
  expect(endpointToken({}).token).not.toBe(made.token);
  expect(readFileSync(made.file!, 'utf8').trim()).toBe(made.token);
  expect([statSync(made.file!).mode & 0o777, statSync(dirname(made.file!)).mode & 0o777]).toEqual([
    0o600, 0o700,
  ]);
  const named = endpointToken({ GENAC_TOKEN_FILE: made.file! });
  expect(named).toMatchObject({ token: made.token, file: made.file });
  expect(
    endpointToken({ GENAC_TOKEN: 'sixteen-letters!', GENAC_TOKEN_FILE: made.file! }),
  ).toMatchObject({
    ...{ token: 'sixteen-letters!', file: null },
  });
  expect(() => endpointToken({ GENAC_TOKEN: 'short' })).toThrow(
    'the token in GENAC_TOKEN must have at least 16',
  );
  const blank = join(dirname(made.file!), 'blank');
  writeFileSync(blank, '\n');
  expect(() => endpointToken({ GENAC_TOKEN_FILE: blank })).toThrow(
    `the token in ${blank} must have`,
  );
  named.forget(); // another's
  expect(existsSync(made.file!)).toBe(true);
  made.forget();
  expect(existsSync(dirname(made.file!))).toBe(false);
});
