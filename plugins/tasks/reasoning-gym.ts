/** Problems of `reasoning-gym`'s generators, without end, and their own verifiers as the reward. */
import { z } from 'zod';
import {
  ConfigError,
  defineTask,
  deriveSeed,
  type Problem,
  Random,
  type Task,
} from '../../src/plugin-api.ts';
import { answerOf, answerSchema, templateFor } from './reasoning-gym/answer.ts';
import { gymOf, type Item, problemSeed } from './reasoning-gym/calls.ts';
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

export default defineTask({
  name: 'reasoning-gym',
  options,
  usesPython: true,
  create({ generators, answer, template = templateFor(answer), ...prompt }, { python, log }): Task {
    checkTemplate(template);
    const weights = generators.map(({ weight }) => weight);
    const gym = gymOf(python, log);

    const itemOf = ({ columns }: Problem): Item => {
      const { name, parameters } = generators[columns.generator_index as number]!;
      return { name, parameters, seed: columns.seed as number };
    };

    return {
      name: 'reasoning-gym',
      async prepare() {
        const named = generators.map(({ name, parameters }) => ({ name, parameters }));
        await gym.check(named, 'task.generators');
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
        const made = await gym.problems(items);
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
        return found === null ? 0 : gym.score({ ...itemOf(problem), answer: found });
      },
    };
  },
});

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
