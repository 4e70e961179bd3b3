/**
 * The miniature's rule-based oracle: it replays the chain, judges every claim, and gives a score.
 * It reasons rightly, but unless asked for exact scores it is not calibrated to the actor, as the
 * big API models are not that the paper uses.
 */

import { deriveSeed, type OracleTrace, Random, textState } from '../../../src/plugin-api.ts';
import { exactValue } from './actors.ts';
import { apply, type Chain, claimsText, LABELS, registers } from './chains.ts';
import { type SyntheticActor, syntheticRollout } from './population.ts';

/**
 * The start, written as if it were a step (value, claim, verdict), so that every true result is
 * computed from the one before it in the same way; then per step so far label, operations, true
 * result, the actor's claim, verdict; then the steps left: `4 4 Y a -2 2 2 Y b -3 6 4 N left 6`.
 */
export function rationaleOf(chain: Chain, claims: readonly number[]): string {
  let register = chain.start;
  const steps = claims.map((claim, k) => {
    const operations = chain.steps[k]!;
    register = operations.reduce(apply, register);
    return (
      `${LABELS[k]} ${operations.join(' ')} ${register} ${claim} ` +
      `${claim === register ? 'Y' : 'N'}`
    );
  });
  return [
    `${chain.start} ${chain.start} Y`,
    ...steps,
    `left ${chain.steps.length - claims.length}`,
  ].join(' ');
}

/**
 * Uncalibrated: from half of the true error rate per step where the last state is right, .2 where
 * it is wrong, plus noise of -2..2.
 * @returns integer 0..10
 */
export function guess(
  success: number,
  chain: Chain,
  claims: readonly number[],
  random: Random,
): number {
  const steps = chain.steps.length;
  const right = claims.length === 0 || claims.at(-1) === registers(chain)[claims.length - 1];
  const error = 1 - success ** (1 / steps);
  const value = right ? (1 - error / 2) ** (steps - claims.length) : 0.2;
  return Math.min(10, Math.max(0, Math.round(10 * value) + random.integer(5) - 2));
}

export function oracleTrace(
  actors: readonly SyntheticActor[],
  seed: number,
  index: number,
  steps: number,
  scores: 'noisy' | 'exact',
): OracleTrace {
  const rollout = syntheticRollout(actors, seed, 'oracle', index, steps, 0.5);
  const random = new Random(deriveSeed(seed, 'miniature/oracle-score', index));
  const k = random.integer(steps);
  const claims = rollout.claims.slice(0, k);
  const value = exactValue(rollout.table, rollout.chain, claims);
  return {
    state: textState({
      ...{ id: `oracle-${index}`, problem: rollout.problem, response: claimsText(claims) },
      ...{ index: k, group: index, actor: rollout.actor },
    }),
    rationale: rationaleOf(rollout.chain, claims),
    score:
      scores === 'exact'
        ? Math.round(10 * value)
        : guess(rollout.actor.successRate!, rollout.chain, claims, random),
    observed: rollout.reward,
  };
}
