/**
 * What table 4's equal budgets don't show: the responses that pretraining takes, and how often the
 * group mean took the place of a critic's values.
 */
import { groupBy, mean } from '../../math/statistics.ts';
import { successAt } from '../curve.ts';
import { familiesOf } from '../families.ts';
import { cheapest, type Method, type MethodKey, methodKeys, methods } from '../methods.ts';
import type { Results } from '../parts.ts';
import type { Setup } from '../setup.ts';
import { trained } from '../sweep.ts';
import { type Block, plain } from '../table.ts';

/** Responses that the method's critic learns from before joint training. */
export function responsesBefore({ recipe, size }: Setup, key: MethodKey): number {
  const { pretrained }: Method = methods[key];
  if (pretrained === null) return 0;
  if (pretrained === 'head') return size.head.steps * size.head.responses;
  const { critic_rl } = recipe;
  const { steps = critic_rl.steps, states = critic_rl.states } = size.pretraining;
  return steps * states;
}

/** Of one iteration of joint training. */
export function responsesOfIteration({ recipe, size }: Setup): number {
  const { sampling } = recipe;
  const { batch_size = sampling.batch_size, num_generations = sampling.num_generations } =
    size.sampling;
  return batch_size * num_generations;
}

/** The cheapest method's success where the others' pretraining counts. */
export function pretrainingBlock(setup: Setup, seed: number, results: Results): Block {
  const families = familiesOf(setup);
  const { joint, longer } = setup.size;
  const before = groupBy(
    methodKeys(setup).filter((key) => methods[key].pretrained !== null),
    (key) => responsesBefore(setup, key),
  );
  return {
    title: `${methods[cheapest].name} with the responses of pretraining for itself`,
    digits: 3,
    columns: [...families.map(({ title }) => title), 'mean'],
    rows: [...before].map(([responses, keys]) => {
      const success = families.map((family) => {
        const one = results.resultOf(trained(setup, family, seed, cheapest, longer));
        const iterations = joint + responses / responsesOfIteration(family.setup);
        return one === null ? Number.NaN : successAt(one.figures.curve, 'iteration', iterations);
      });
      return {
        name: `${responses} more, as ${keys.map((key) => methods[key].name).join(', ')}`,
        cells: [...success, mean(success)].map((value) => plain(value)),
      };
    }),
  };
}

/** Of methods whose values the group mean may replace. */
export function gateBlock(setup: Setup, seed: number, results: Results): Block {
  const families = familiesOf(setup);
  return {
    title: 'share of iterations in which the group mean took the place of the critic’s values',
    digits: 2,
    columns: families.map(({ title }) => title),
    rows: methodKeys(setup)
      .filter((key) => methods[key].fallback)
      .map((key) => ({
        name: methods[key].name,
        cells: families.map((family) =>
          plain(
            results.resultOf(trained(setup, family, seed, key))?.figures.means['gate/fallback'],
          ),
        ),
      })),
  };
}
