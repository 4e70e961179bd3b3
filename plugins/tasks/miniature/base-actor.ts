/** The models of register chains. */
import type { ModelTools } from '../../../src/plugin-api.ts';
import * as models from '../chains/base-actor.ts';
import type { ModelSize } from '../chains/model-folder.ts';
import { registerMachine } from './chains.ts';

export const miniatureSize: ModelSize = {
  width: 64,
  layers: 2,
  heads: 4,
  keyValueHeads: 1,
  mlp: 160,
};

/** Optimizer steps of the base actor, by the modulus. */
const demonstrations: Readonly<Record<number, number>> = { 7: 500, 11: 900 };
/** And of two operations a step, modulo 7. */
const demonstrationsOfTwo = { demonstrations: 4000, alone: 0.2 } as const;

/** Four heads did not compare 11 registers within 1400 steps; two wider ones do within 700. */
export const making = (modulus: number, operationsPerStep: number): models.Making => ({
  blank: { ...miniatureSize, heads: modulus === 7 ? miniatureSize.heads : 2 },
  actor: miniatureSize,
  demonstrations: demonstrations[modulus]!,
  ...(operationsPerStep === 2 && demonstrationsOfTwo),
});

export const makeModel = (name: string, folder: string, tools: ModelTools, steps: number) =>
  models.makeModel(registerMachine, making(7, 1), name, folder, tools, { steps });
