/** A critic that is used by itself, with other options than its run gave it. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import generative from '../../plugins/critics/generative.ts';
import languageModel from '../../plugins/critics/language-model.ts';
import valueHead from '../../plugins/critics/value-head.ts';

const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const given = {
  thinking: some(fc.boolean()),
  carry_until: some(fc.constantFrom(null, 'left')),
  completions_per_state: some(fc.integer({ min: 1, max: 4 })),
  share_of_states: some(fc.constantFrom(0.5, 1)),
  agree_within: some(fc.constantFrom(null, 1)),
  answer: some(fc.constantFrom('free', 'forced')),
  sure_within: some(fc.constantFrom(null, 0.1)),
  look_every: some(fc.integer({ min: 1, max: 100 })),
  max_new_tokens: some(fc.integer({ min: 1, max: 100 })),
  baseline: some(fc.constantFrom('none', 'leave-one-out', 'batch-mean')),
  importance_sampling: some(fc.constantFrom(null, { mode: 'token_truncate', cap: 2 })),
};
const wanted = fc.record(
  {
    completions: fc.integer({ min: 1, max: 4 }),
    thinking: fc.boolean(),
    maxNewTokens: fc.integer({ min: 1, max: 100 }),
    temperature: fc.constantFrom(0.5, 1),
  },
  { requiredKeys: ['completions'] },
);

it.each([generative, languageModel, valueHead])(
  '$name: options that are valid stay so, whatever is wanted in their place',
  ({ options, standalone }) => {
    let valid = 0;
    fc.assert(
      fc.property(fc.record(given), wanted, (record, changes) => {
        const known = Object.entries({ model: 'm', ...record }).filter(
          ([key, value]) =>
            value !== undefined && !/unrecognized/.test(String(problem({ [key]: value }))),
        );
        const choice = Object.fromEntries(known);
        fc.pre(options.safeParse(choice).success);
        valid += 1;
        expect(problem(standalone!(choice, 'folder', changes))).toBeUndefined();
        expect(problem(standalone!({}, 'folder', changes))).toBeUndefined();
      }),
      { numRuns: 300 },
    );
    expect(valid).toBe(300);

    function problem(choice: object) {
      return options.safeParse(choice).error?.issues.map(({ code }) => code);
    }
  },
);

it.each([{ answer: 'free' }, { max_new_tokens: 8 }, { thinking: false }])(
  'a critic of a run that thinks until it is sure takes %j, and looks no more',
  (changes) => {
    const run = { model: 'm', answer: 'forced', sure_within: 0.1, look_every: 8 };
    const own = generative.standalone!({ ...run, ...changes }, 'folder', { completions: 1 });
    expect(generative.options.parse(own)).toMatchObject({ ...changes, sure_within: null });
  },
);

it('`look_every` without `sure_within` is refused', () => {
  const refused = generative.options.safeParse({ model: 'm', look_every: 8 });
  expect(refused.error?.issues).toMatchObject([{ path: ['look_every'] }]);
  expect(generative.options.safeParse({ model: 'm', look_every: 64 }).success).toBe(true);
});
