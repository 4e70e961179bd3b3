/** What the tasks of reasoning-gym ask of its Python package. */
import {
  ConfigError,
  deriveSeed,
  type Json,
  type PythonFunctions,
  type Split,
} from '../../../src/plugin-api.ts';
import { batched } from './batched.ts';

/** A generator, as reasoning-gym calls it, and its own parameters. */
export interface Generator {
  readonly name: string;
  readonly parameters: { readonly [name: string]: Json };
}

/** What Python makes one problem from. */
export interface Item extends Generator {
  readonly seed: number;
}

/**
 * Seeds of the training split lie below this, held-out ones at or above it: they never meet, in
 * whatever run. Generators take 32 bits.
 */
const half = 2 ** 31;
/** Responses of one call. */
const largestBatch = 512;
/**
 * Milliseconds after which a call is given up: a verifier that hangs ends the run instead of
 * holding it up.
 */
const deadlineMs = 600_000;

/**
 * The seed of a problem: consecutive from a start that the run's seed draws, in its split's half.
 */
export function problemSeed(split: Split, seed: number, number: number): number {
  const [start] = deriveSeed(seed, `reasoning-gym/${split}/start`);
  return ((start + number) % half) + (split === 'heldout' ? half : 0);
}

export function gymOf(python: PythonFunctions, log: (text: string) => void) {
  const toldOf = new Set<string>();
  const ask = (name: string, of: object, options?: { readonly deadlineMs: number }) =>
    python.call(`genac_bridge.functions.gym_tasks:${name}`, of as Record<string, Json>, options);

  /** @throws ConfigError for a generator that can't be used; `where`: of the config */
  async function check(generators: readonly Generator[], where: string): Promise<void> {
    const { problem } = (await ask('check', { generators })) as { problem: string | null };
    if (problem !== null) throw new ConfigError([`${where}: ${problem}`]);
  }

  const problems = async (items: readonly Item[]) =>
    (await ask('problems', { items })) as {
      question: string;
      answer: string | null;
    }[];

  /** What the generator's own verifier gives an answer, in [0, 1]. */
  const score = batched(async (items: readonly (Item & { answer: string })[]) => {
    const scores = await ask('scores', { items }, { deadlineMs });
    return (scores as { score: number; failure: string | null }[]).map(({ score, failure }, i) => {
      const { name, answer } = items[i]!;
      if (failure !== null && !toldOf.has(name)) {
        toldOf.add(name);
        log(
          `task: the verifier of ${name} can't read the answer ${JSON.stringify(answer)} ` +
            `(${failure}): such answers earn 0`,
        );
      }
      return score;
    });
  }, largestBatch);

  return { check, problems, score };
}
