/** The rule about `parsed` takes honest critics, and no others. */
import { expect, it } from 'vitest';
import { z } from 'zod';
import { createCritic } from '../../src/checked-critic.ts';
import { defineCritic } from '../../src/critic.ts';
import { bareCriticEnvironment } from '../fixtures/critic-environment.ts';
import { criticConformance, expectParsed } from './critic.ts';

const silent = defineCritic({
  name: 'silent',
  needs: 'states',
  options: z.strictObject({}),
  create: () => ({
    sharesFirstState: true,
    value: async (states) =>
      states.map(() => ({
        ...{ value: 0.5, rationale: '', completions: [] },
        parsed: 'malformed' as const,
      })),
  }),
});

criticConformance('silent', {
  make: () => createCritic(silent, {}, bareCriticEnvironment()),
  problems: [{ id: 'p', prompt: 'p', columns: {} }],
  responses: ['', 'a'],
});

it.each([
  ['malformed', [3], false],
  ['malformed', [null, 3], false],
  ['ok', [null], false],
  ['ok', [null, 3], true],
  ['malformed', [null, null], true],
  ['ok', [], true],
] as const)('%s with the scores %j conforms: %s', (parsed, scores, conforms) => {
  const ids = { promptIds: new Int32Array(), completionIds: new Int32Array() };
  const completions = scores.map((score) => ({ ...ids, text: '', score }));
  const check = () => expectParsed({ value: 0.5, rationale: '', parsed, completions });
  if (conforms) expect(check).not.toThrow();
  else expect(check).toThrow();
});
