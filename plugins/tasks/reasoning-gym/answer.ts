/** Where in a response its final answer stands. */
import { z } from 'zod';

export const answerSchema = z.union([
  z.enum(['response', 'last-line', 'last-number']),
  z.strictObject({ tag: z.string().regex(/^[A-Za-z_][\w-]*$/) }),
  z.strictObject({ after: z.string().min(1) }),
]);

export type AnswerPlace = z.infer<typeof answerSchema>;

/** Behind a digit or a bracket a sign is an operation or a range. */
const number =
  /(?:(?<![\d)])[-−+])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|\.\d+)/g;

/**
 * The answer, without blanks around it; null: the response gives none.
 * - `{tag: answer}`: inside the last complete `<answer>...</answer>`, over several lines if need
 *   be.
 * - `{after: 'Answer:'}`: from the last `Answer:` to the end of its line.
 * - `last-line`: the last line that is not blank. `last-number`: the last number, without the
 *   commas between thousands.
 * - `response`: all of it.
 */
export function answerOf(response: string, place: AnswerPlace): string | null {
  const found = find(response, place)?.trim();
  return found === undefined || found === '' ? null : found;
}

function find(response: string, place: AnswerPlace): string | undefined {
  if (place === 'response') return response;
  if (place === 'last-line') return response.trimEnd().split('\n').at(-1);
  if (place === 'last-number')
    return response.match(number)?.at(-1)?.replaceAll(',', '').replace('−', '-');
  if ('after' in place) {
    const at = response.lastIndexOf(place.after);
    return at === -1 ? undefined : response.slice(at + place.after.length).split('\n', 1)[0];
  }
  const [opening, closing] = [`<${place.tag}>`, `</${place.tag}>`];
  const last = response.lastIndexOf(closing);
  const open = last === -1 ? -1 : response.lastIndexOf(opening, last);
  if (open === -1) return undefined;
  // Between them there may be other closing ones.
  return response.slice(open + opening.length, response.indexOf(closing, open));
}

/** The template that asks for the answer where it is looked for. */
export function templateFor(place: AnswerPlace): string {
  return `{question}\n\n${instruction(place)}`;
}

function instruction(place: AnswerPlace): string {
  if (place === 'response') return 'Reply with the final answer alone.';
  if (place === 'last-line') return 'Give the final answer alone on the last line.';
  if (place === 'last-number') return 'End with the final answer, a number.';
  if ('after' in place) return `End with the final answer on one line, after "${place.after}".`;
  return `End with the final answer between <${place.tag}> and </${place.tag}>.`;
}
