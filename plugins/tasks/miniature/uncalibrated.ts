/**
 * The miniature's noisy oracle (of registers modulo 7) as a critic, in the place of a large model
 * that is asked without training: it reasons rightly, and its scores are not calibrated to the
 * actor.
 */
import { z } from 'zod';
import { defineCritic, deriveSeed, promptText, Random } from '../../../src/plugin-api.ts';
import { guess } from '../chains/oracle.ts';
import { parseChain, parseClaims, registerMachine } from './chains.ts';

export default defineCritic({
  name: 'uncalibrated',
  needs: 'states',
  options: z.strictObject({
    /** In-Context Conditioning. false: it takes the actor to solve half of the problems. */
    icc: z.boolean().default(true),
  }),
  create: ({ icc }, { seed }) => ({
    sharesFirstState: true,
    async value(states) {
      return states.map(({ id, problem, response, actor }) => {
        const chain = parseChain(promptText(problem.prompt));
        const nothing = { rationale: '', completions: [] };
        if (chain === null) return { ...nothing, value: 0.5, parsed: 'malformed' as const };
        const success = (icc ? actor.successRate : null) ?? 0.5;
        const random = new Random(deriveSeed(seed, `miniature/uncalibrated/${id}`));
        const score = guess(registerMachine, success, chain, parseClaims(response), random);
        return { ...nothing, value: score / 10, parsed: 'ok' as const };
      });
    },
  }),
});
