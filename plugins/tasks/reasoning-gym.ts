/** Problems of `reasoning-gym`'s generators, without end, and their own verifiers as the reward. */
import { z } from 'zod';
import {
  ConfigError,
  defineTask,
  deriveSeed,
  type Json,
  type Problem,
  Random,
  type Split,
  type Task,
} from '../../src/plugin-api.ts';
import { answerOf, answerSchema, templateFor } from './reasoning-gym/answer.ts';
import { batched } from './reasoning-gym/batched.ts';
import { fill, promptFields, promptOfText, refusePromptOptions } from './rows/prompt.ts';

const generator = z.strictObject({
  /** As reasoning-gym calls it, e.g. `chain_sum`. */
  name: z.string().min(1),
  /** Its own, by their names; what is left out takes its default. */
  parameters: z.record(z.string(), z.json()).default({}),
  /** Problems are drawn from the generators in proportion to their weights. */
  weight: z.number().positive().default(1),
});

const options = z
  .strictObject({
    generators: z
      .array(
        z.union([
          z
            .string()
            .min(1)
            .transform((name) => generator.parse({ name })),
          generator,
        ]),
      )
      .min(1),
    ...promptFields,
    /** Where in a response its answer is looked for. A response without one earns 0. */
    answer: answerSchema.default({ tag: 'answer' }),
  })
  .superRefine(refusePromptOptions);

/** What Python makes one problem from. */
type Item = { name: string; parameters: { [name: string]: Json }; seed: number };

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

export default defineTask({
  name: 'reasoning-gym',
  options,
  usesPython: true,
  create({ generators, answer, template = templateFor(answer), ...prompt }, { python, log }): Task {
    checkTemplate(template);
    const weights = generators.map(({ weight }) => weight);
    const toldOf = new Set<string>();

    const itemOf = ({ columns }: Problem): Item => {
      const { name, parameters } = generators[columns.generator_index as number]!;
      return { name, parameters, seed: columns.seed as number };
    };

    const score = batched(async (items: readonly (Item & { answer: string })[]) => {
      const scores = await python.call(
        'genac_bridge.functions.gym_tasks:scores',
        { items: [...items] },
        { deadlineMs },
      );
      return (scores as { score: number; failure: string | null }[]).map(
        ({ score, failure }, i) => {
          const { name, answer } = items[i]!;
          if (failure !== null && !toldOf.has(name)) {
            toldOf.add(name);
            log(
              `task: the verifier of ${name} can't read the answer ${JSON.stringify(answer)} ` +
                `(${failure}): such answers earn 0`,
            );
          }
          return score;
        },
      );
    }, largestBatch);

    return {
      name: 'reasoning-gym',
      async prepare() {
        const named = generators.map(({ name, parameters }) => ({ name, parameters }));
        const { problem } = (await python.call('genac_bridge.functions.gym_tasks:check', {
          generators: named,
        })) as {
          problem: string | null;
        };
        if (problem !== null) throw new ConfigError([`task.generators: ${problem}`]);
      },
      async problems(split, seed, from, count) {
        const drawn = Array.from({ length: count }, (_, i) => {
          const number = from + i;
          const random = new Random(deriveSeed(seed, `reasoning-gym/${split}`, number));
          return {
            index: random.weighted(weights),
            seed: problemSeed(split, seed, number),
            number,
          };
        });
        const items = drawn.map(({ index, seed }): Item => {
          const { name, parameters } = generators[index]!;
          return { name, parameters, seed };
        });
        const made = (await python.call('genac_bridge.functions.gym_tasks:problems', {
          items,
        })) as {
          question: string;
          answer: string | null;
        }[];
        return made.map(({ question, answer }, i) => {
          const { index, seed, number } = drawn[i]!;
          const { name } = generators[index]!;
          const columns = { question, answer, generator: name, generator_index: index, seed };
          return {
            id: `${split}-${number}`,
            prompt: promptOfText(fill(template, columns), prompt),
            columns,
          };
        });
      },
      async reward({ text, problem }) {
        const found = answerOf(text, answer);
        return found === null ? 0 : score({ ...itemOf(problem), answer: found });
      },
    };
  },
});

/**
 * The seed of a problem: consecutive from a start that the run's seed draws, in its split's half.
 */
function problemSeed(split: Split, seed: number, number: number): number {
  const [start] = deriveSeed(seed, `reasoning-gym/${split}/start`);
  return ((start + number) % half) + (split === 'heldout' ? half : 0);
}

/** @throws ConfigError where the problem is left out, or a column is named that there is not */
function checkTemplate(template: string): void {
  const columns = { question: 'Q?', answer: 'A', generator: 'G', generator_index: 0, seed: 0 };
  const refuse = (why: string) => new ConfigError([`task.template: ${why}`]);
  let filled: string;
  try {
    filled = fill(template, columns);
  } catch (error) {
    throw refuse((error as Error).message);
  }
  if (!filled.includes('Q?')) throw refuse('has no {question}, where the problem stands');
}
