/** What the tables' models are made with. */
import { expect, it } from 'vitest';
import generative from '../../plugins/critics/generative.ts';
import languageModel from '../../plugins/critics/language-model.ts';
import { loadConfigFile } from '../../src/config/load.ts';
import { scorer } from '../../src/reproduction/foundation.ts';
import { sizes } from '../../src/reproduction/sizes.ts';

it('makes critics with words and without of one recipe', () => {
  const setup = { recipe: loadConfigFile('examples/miniature.yaml').config, size: sizes.tiny };
  const optionsOf = (kind: Parameters<typeof scorer>[1]) => {
    const { use, ...options } = scorer(setup, kind) as { readonly use: string };
    return [use, options] as const;
  };
  const [words, given] = optionsOf('generative');
  const [silent, same] = optionsOf('language-model');
  expect([words, silent]).toEqual(['generative', 'language-model']);
  expect(generative.options.parse(given)).toMatchObject({ icc: true, completions_per_state: 2 });
  expect(languageModel.options.parse(same)).toMatchObject({ icc: true, completions_per_state: 2 });
  expect(optionsOf('generative-without-icc')[1]).toEqual({ ...given, icc: false });
});
