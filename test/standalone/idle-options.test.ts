/** Options of judging that a critic does not have are refused, and no others. */
import { expect, it } from 'vitest';
import generative from '../../plugins/critics/generative.ts';
import languageModel from '../../plugins/critics/language-model.ts';
import valueHead from '../../plugins/critics/value-head.ts';
import type { CriticPlugin } from '../../src/critic.ts';
import { refuseIdle } from '../../src/standalone/idle-options.ts';

const all = { thinking: false, maxNewTokens: 3, temperature: 0.1, completions: 8 };
const idleOf = (plugin: CriticPlugin<never>, given: object) => () =>
  refuseIdle(plugin.name, given, (wanted) => plugin.standalone!({ thinking: false }, 'm', wanted));

it('a critic in words has all of them, one without words does not think', () => {
  expect(idleOf(generative as never, all)).not.toThrow();
  expect(idleOf(languageModel as never, { ...all, thinking: undefined })).not.toThrow();
  expect(idleOf(languageModel as never, all)).toThrow(
    'leave out thinking: the critic "language-model" has no such option',
  );
});

it('a value head, and a critic of one’s own, are not asked in words', () => {
  expect(idleOf(valueHead as never, {})).not.toThrow();
  expect(idleOf(valueHead as never, all)).toThrow(
    'leave out thinking, maxNewTokens, temperature, completions: the critic "value-head" has no',
  );
  expect(() => refuseIdle('./mine.ts', { completions: 2 }, undefined)).not.toThrow();
  expect(() => refuseIdle('./mine.ts', { temperature: 1 }, undefined)).toThrow(
    'leave out temperature:',
  );
});
