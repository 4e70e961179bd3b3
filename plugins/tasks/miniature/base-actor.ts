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

export const making = {
  ...{ blank: miniatureSize, actor: miniatureSize },
  demonstrations: 500,
} as const;

export const makeModel = (name: string, folder: string, tools: ModelTools, steps: number) =>
  models.makeModel(registerMachine, making, name, folder, tools, steps);
