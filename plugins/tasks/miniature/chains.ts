/**
 * Register chains: a start value and K labelled steps of b operations each on a register modulo 7.
 * With b = 1: prompt `4 | a -2 | b -3 | ... | h +5 | >`, response `a 2 b 6 ... h 1 .`. Every word
 * is one token.
 */

import type { Problem, Random } from '../../../src/plugin-api.ts';

export const MODULUS = 7;
export const LABELS = 'abcdefghijkl';

const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** +1..+6, *2..*6, -1..-6. */
export const OPERATIONS: readonly string[] = [
  ...range(1, 6).map((n) => `+${n}`),
  ...range(2, 6).map((n) => `*${n}`),
  ...range(1, 6).map((n) => `-${n}`),
];
export const operationIndex = new Map(OPERATIONS.map((operation, i) => [operation, i]));

export function apply(register: number, operation: string): number {
  const operand = Number(operation[1]);
  const sign = operation[0];
  const raw =
    sign === '+' ? register + operand : sign === '*' ? register * operand : register - operand;
  return ((raw % MODULUS) + MODULUS) % MODULUS;
}

export interface Chain {
  readonly start: number;
  /** steps[k] = the operations of labelled step k. */
  readonly steps: readonly (readonly string[])[];
}

/** @param operations that are drawn, each as often */
export function drawChain(
  random: Random,
  steps: number,
  operationsPerStep: number,
  operations: readonly string[] = OPERATIONS,
): Chain {
  return {
    start: random.integer(MODULUS),
    steps: range(1, steps).map(() =>
      range(1, operationsPerStep).map(() => operations[random.integer(operations.length)]!),
    ),
  };
}

/** The true register after each step. */
export function registers(chain: Chain): number[] {
  let register = chain.start;
  return chain.steps.map((operations) => {
    register = operations.reduce(apply, register);
    return register;
  });
}

export function chainPrompt(chain: Chain): string {
  const steps = chain.steps.map((operations, k) => `${LABELS[k]} ${operations.join(' ')} |`);
  return `${chain.start} | ${steps.join(' ')} >`;
}

/** Reads what `chainPrompt` wrote; null: it is something else. */
export function parseChain(prompt: string): Chain | null {
  const [start, ...parts] = prompt.replace(/ >$/, '').split(' |');
  const steps = parts
    .map((part) => part.trim().split(' ').slice(1))
    .filter((operations) => operations.length > 0);
  const chain = { start: Number(start), steps };
  const known = steps.flat().every((operation) => operationIndex.has(operation));
  return known && chainPrompt(chain) === prompt ? chain : null;
}

export function chainProblem(chain: Chain, id: string): Problem {
  return {
    id,
    prompt: chainPrompt(chain),
    columns: {
      start: chain.start,
      steps: chain.steps.map((operations) => [...operations]),
      answer: registers(chain).at(-1)!,
    },
  };
}

export function chainOf(problem: Problem): Chain {
  const { start, steps } = problem.columns;
  return { start: start as number, steps: steps as string[][] };
}

/** `a 2 b 6`: the claims of the steps so far, without the end. */
export function claimsText(claims: readonly number[]): string {
  return claims.map((claim, k) => `${LABELS[k]} ${claim}`).join(' ');
}

/**
 * The claimed registers of a response or of its beginning: as many as stand in order with their
 * labels.
 */
export function parseClaims(text: string): number[] {
  const words = text.split(' ').filter((word) => word !== '');
  const claims: number[] = [];
  for (let k = 0; 2 * k + 1 < words.length; k++) {
    const word = words[2 * k + 1]!;
    if (words[2 * k] !== LABELS[k] || !/^[0-6]$/.test(word)) break;
    claims.push(Number(word));
  }
  return claims;
}

/** 1 if the response names every step in order, ends, and its last register is right; else 0. */
export function chainReward(text: string, chain: Chain): number {
  const claims = parseClaims(text);
  const complete = claims.length === chain.steps.length && text === `${claimsText(claims)} .`;
  return complete && claims.at(-1) === registers(chain).at(-1) ? 1 : 0;
}
