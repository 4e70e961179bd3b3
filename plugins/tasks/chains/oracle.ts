/**
 * The rule-based oracle's scores. The oracle replays the chain and judges every claim rightly, but
 * unless asked for exact scores it is not calibrated to the actor, as the big API models are not
 * that the paper uses.
 */
import type { Random } from '../../../src/plugin-api.ts';
import { type Chain, chainsOf, type Machine } from './machine.ts';

/**
 * Uncalibrated: from half of the true error rate per step where the last state is right, .2 where
 * it is wrong, plus noise of -2..2.
 * @returns integer 0..10
 */
export function guess(
  machine: Machine,
  success: number,
  chain: Chain,
  claims: readonly number[],
  random: Random,
): number {
  const steps = chain.steps.length;
  const truth = chainsOf(machine).truth(chain);
  const right = claims.length === 0 || claims.at(-1) === truth[claims.length - 1];
  const error = 1 - success ** (1 / steps);
  const value = right ? (1 - error / 2) ** (steps - claims.length) : 0.2;
  return Math.min(10, Math.max(0, Math.round(10 * value) + random.integer(5) - 2));
}
