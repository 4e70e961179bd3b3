/** The tasks of tables 1 and 4, each with a recipe of its own. */
import { parse } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfigFile } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { type Setup, withOptions } from './setup.ts';
import type { FamilyName } from './sizes.ts';

/** One task of a table, with the recipe that its runs begin with. */
export interface Family {
  /** In titles, such as `chains of 8`. */
  readonly title: string;
  readonly setup: Setup;
  /** Labelled steps K of its chains. */
  readonly steps: number;
  /** Operations b of each step; absent: one. */
  readonly operations?: number;
}

export const exampleFile = (name: string) =>
  fileURLToPath(new URL(`../../examples/${name}.yaml`, import.meta.url));

const chains = (setup: Setup, steps: number): Family => ({
  ...{ title: `chains of ${steps}`, setup, steps },
});

/** Of table 4. The task of all other tables comes first: settings are chosen on it. */
export const familiesOf = (setup: Setup): Family[] => [
  setup.given
    ? { title: parse(withOptions(setup.recipe.task).use).name, setup, steps: 0 }
    : chains(setup, setup.size.steps),
  ...setup.size.families.map((name) => others[name](setup)),
];

/** Chains of K steps of b operations. */
function deepChains({ recipe, size }: Setup, steps: number, operations: number): Family {
  const task = { ...withOptions(recipe.task), operations_per_step: operations };
  const setup = { recipe: { ...recipe, task }, size };
  return { title: `chains of ${steps} x ${operations}`, setup, steps, operations };
}

/** Of table 1: chains of growing depth, and the task whose theory asks for words. */
export const depthsOf = (setup: Setup): Family[] => [
  ...setup.size.depths.map(([steps, operations]) =>
    operations === 1 ? chains(setup, steps) : deepChains(setup, steps, operations),
  ),
  ...setup.size.theory.map((name) => others[name](setup)),
];

const others: Readonly<Record<FamilyName, (setup: Setup) => Family>> = {
  /** Half as many steps again: as much more to write, for the actor and for the critic. */
  'longer-chains': ({ recipe, size }) => {
    const steps = Math.ceil(1.5 * size.steps);
    const longer = (tokens: number) => Math.ceil(1.5 * tokens);
    const critic = recipe.critic as { readonly use: string; readonly max_new_tokens?: number };
    const words = critic.max_new_tokens; // absent: its default is enough for both
    const changed: Config = {
      ...recipe,
      ...(words !== undefined && { critic: { ...critic, max_new_tokens: longer(words) } }),
      sampling: { ...recipe.sampling, max_new_tokens: longer(recipe.sampling.max_new_tokens) },
    };
    return { title: `chains of ${steps}`, setup: { recipe: changed, size }, steps };
  },
  /** Registers modulo 11, which have 319 cells to learn in the place of 119. */
  'wider-chains': ({ recipe, size }) => {
    const task = { ...(recipe.task as { readonly use: string }), modulus: 11 };
    const { steps } = size;
    return {
      title: `chains of ${steps} modulo 11`,
      setup: { recipe: { ...recipe, task }, size },
      steps,
    };
  },
  /** Four cups, by a recipe of their own. */
  cups: (setup) => cups(setup, 4, {}),
  /** The word problem of S5, whose 1200 cells take stage 1 twice as long as those of four cups. */
  'five-cups': (setup) => cups(setup, 5, { steps: 900, cooldown: 200 }),
  /** Sums of six terms of one digit. */
  sums: (setup) => gym(setup, 'chain_sum', 5),
  /** Least common multiples of seven numbers up to 10. */
  multiples: (setup) => gym(setup, 'lcm', 6),
};

/** A generator of reasoning-gym, by the recipe of such chains. */
function gym({ size }: Setup, generator: string, most: number): Family {
  const { config } = loadConfigFile(exampleFile('gym-chains'));
  const task = { ...(config.task as { readonly use: string }), generator };
  const steps = Math.max(4, Math.min(most, size.steps));
  const title = `reasoning-gym, ${generator}`;
  return { title, setup: { recipe: { ...config, task }, size, usesPython: true }, steps };
}

function cups({ size }: Setup, count: number, critic_sft: Partial<Config['critic_sft']>): Family {
  const { config } = loadConfigFile(exampleFile('cups'));
  const task = { ...(config.task as { readonly use: string }), cups: count };
  const recipe: Config = { ...config, task, critic_sft: { ...config.critic_sft, ...critic_sft } };
  const title = `${size.steps} swaps of ${count} cups`;
  return { title, setup: { recipe, size }, steps: size.steps };
}
