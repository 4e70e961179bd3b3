/**
 * JSON lines for a critic: reads `{prompt, response}` or `{prompt, responses}`, and returns the
 * same line with the critic's values.
 */
import { z } from 'zod';
import { promptSchema } from '../bridge/operations.ts';
import type { Json } from '../types.ts';
import type { OpenedCritic } from './open-critic.ts';

const schema = z
  .looseObject({
    prompt: promptSchema,
    response: z.string().optional(),
    responses: z.array(z.string()).min(1).optional(),
    actor: z
      .strictObject({
        name: z.string(),
        parameters: z.number().nonnegative(),
        success_rate: z.number().min(0).max(1).nullable().default(null),
      })
      .optional(),
    /** True: no value is computed; the result is the critic's prompt for `response`. */
    only_prompt: z.boolean().optional(),
  })
  .refine((line) => (line.response === undefined) !== (line.responses === undefined), {
    message: 'a line has either `response` or `responses`',
  });

/** Never throws: a fault of a line, or of its valuation, becomes its `error`. */
export async function answerLine(
  critic: OpenedCritic,
  text: string,
): Promise<Record<string, unknown>> {
  let line: Json;
  try {
    line = JSON.parse(text) as Json;
  } catch (error) {
    return { error: `not JSON: ${(error as Error).message}` };
  }
  const read = schema.safeParse(line);
  if (!read.success) {
    const issues = read.error.issues.map(({ path, message }) => [...path, message].join(': '));
    return { ...(line as object), error: issues.join('; ') };
  }
  // A fault of an earlier answer is none of this one.
  const { error: _, ...kept } = read.data;
  const { prompt, response, responses, actor: given, only_prompt } = kept;
  const actor = given && {
    name: given.name,
    parameters: given.parameters,
    successRate: given.success_rate,
  };
  try {
    if (responses) {
      const ranking = await critic.rank(prompt, responses, actor);
      return { ...kept, ranking: ranking.map(({ response: _, ...rest }) => rest) };
    }
    if (only_prompt) return { ...kept, critic_prompt: critic.prompt(prompt, response!, actor) };
    return { ...kept, ...(await critic.value(prompt, response!, actor)) };
  } catch (error) {
    return { ...kept, error: (error as Error).message };
  }
}
