/**
 * The score without reasoning (AC2, arXiv 2609.39247): the model of the critic `generative`, asked
 * for the number alone, and trained in the same way.
 */
import { z } from 'zod';
import { defineCritic } from '../../src/plugin-api.ts';
import generative, {
  engineDraws,
  enoughCompletions,
  mayStop,
  neverStops,
  nothingDrawn,
  scorerFields,
  tooFew,
} from './generative.ts';

/** All but the options of thinking. */
const { thinking, carry_until, sure_within, look_every, max_new_tokens, ...fields } = scorerFields;

const silent = { thinking: false, carry_until: null, sure_within: null, look_every: 1 } as const;

export default defineCritic({
  name: 'language-model',
  needs: 'states',
  learns: true,
  imitates: true,
  options: z
    .strictObject({
      ...fields,
      /** A score in its tags has 6 to 8 tokens. */
      max_new_tokens: max_new_tokens.removeDefault().default(16),
    })
    .refine(engineDraws, nothingDrawn)
    .refine(enoughCompletions, tooFew)
    .refine(mayStop, neverStops),
  create: (o, environment) => generative.create({ ...o, ...silent }, environment),
  models: ({ model, worker }) => [{ model, worker }],
  startFrom: (given, model) => ({ ...given, model }),
  standalone: (given, model, { thinking: _, ...wanted }) => {
    const own = generative.standalone!(given, model, wanted) as object;
    return Object.fromEntries(Object.entries(own).filter(([option]) => !(option in silent)));
  },
});
