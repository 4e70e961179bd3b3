/**
 * The table of a live actor, measured by teacher forcing on its current weights; with it, exact
 * values of any prefix.
 */

import { type ActorProbe, deriveSeed, Random } from '../../../src/plugin-api.ts';
import { type ActorTable, CELLS } from './actors.ts';
import { type Chain, chainPrompt, claimsText, drawChain, MODULUS, OPERATIONS } from './chains.ts';

/**
 * p(next | register, operation), each averaged over `contexts` random chains and positions. Only
 * for one operation per step: with more, the registers in between are never written.
 */
export async function measureTable(
  probe: ActorProbe,
  seed: number,
  steps: number,
  contexts: number,
): Promise<ActorTable> {
  const prompts: string[] = [];
  const completions: string[] = [];
  for (let cell = 0; cell < CELLS; cell++) {
    for (let context = 0; context < contexts; context++) {
      const random = new Random(deriveSeed(seed, 'miniature/measure', cell, context));
      const k = random.integer(steps);
      const { chain, claims } = contextFor(cell, k, steps, random);
      for (let next = 0; next < MODULUS; next++) {
        prompts.push(chainPrompt(chain));
        completions.push(claimsText([...claims, next]));
      }
    }
  }
  const logprobs = await probe.logprobs(prompts, completions);
  const table = new Float64Array(CELLS * MODULUS);
  for (let cell = 0; cell < CELLS; cell++) {
    const row = table.subarray(cell * MODULUS, (cell + 1) * MODULUS);
    for (let context = 0; context < contexts; context++) {
      for (let next = 0; next < MODULUS; next++) {
        row[next]! += Math.exp(logprobs[(cell * contexts + context) * MODULUS + next]!.at(-1)!);
      }
    }
    const total = row.reduce((sum, p) => sum + p, 0);
    for (let next = 0; next < MODULUS; next++) row[next]! /= total;
  }
  return table;
}

/**
 * A random chain in which step k applies the cell's operation to the cell's register (as claimed).
 */
function contextFor(
  cell: number,
  k: number,
  steps: number,
  random: Random,
): { chain: Chain; claims: number[] } {
  const register = cell % MODULUS;
  const operation = OPERATIONS[Math.floor(cell / MODULUS)]!;
  const drawn = drawChain(random, steps, 1);
  const chain = {
    start: k === 0 ? register : drawn.start,
    steps: drawn.steps.map((step, i) => (i === k ? [operation] : step)),
  };
  const claims = Array.from({ length: k }, (_, i) =>
    i === k - 1 ? register : random.integer(MODULUS),
  );
  return { chain, claims };
}
