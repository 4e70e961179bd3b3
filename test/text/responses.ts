/** Responses for tests of segmentation. */
import {
  type BudgetedSegmentation,
  segmentationSchema,
  segmentResponse,
} from '../../src/text/segment.ts';

/** A response made of these token texts, each sampled with this probability. */
export function response(tokens: readonly string[], probabilities?: readonly number[]) {
  let text = '';
  const textEnds = Int32Array.from(tokens, (token) => {
    text += token;
    return text.length;
  });
  const logprobs = Float32Array.from(tokens, (_, i) => Math.log(probabilities?.[i] ?? 0.9));
  return { text, textEnds, logprobs };
}

export const parse = ({
  budget = null,
  ...options
}: {
  budget?: number | null;
}): BudgetedSegmentation => ({
  ...segmentationSchema.parse(options),
  budget,
});
export const starts = (r: ReturnType<typeof response>, options: object) =>
  segmentResponse(r, parse(options)).map((s) => s.start);

/**
 * Words with the blank before them, digits and marks by themselves, and an end-of-sequence token
 * without text.
 */
export const tokensOf = (text: string): string[] => [
  ...(text.match(/ ?\p{Lo}|\s?\p{L}+|\s?\p{N}|\s?\p{M}|\n|[^\s\p{L}\p{N}]|\s/gu) ?? []),
  '',
];
export const texts = (text: string, options: object = {}) => {
  const tokens = tokensOf(text);
  const segments = segmentResponse(
    response(tokens),
    parse({ by: 'sentence', ...options } as object),
  );
  return segments.map(({ start, end }) => tokens.slice(start, end).join(''));
};
