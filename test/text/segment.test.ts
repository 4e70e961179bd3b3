import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  endsLine,
  endsSentence,
  type Segmentation,
  segmentationSchema,
  segmentResponse,
  textBefore,
} from '../../src/text/segment.ts';

/** A response made of these token texts, each sampled with this probability. */
function response(tokens: readonly string[], probabilities?: readonly number[]) {
  let text = '';
  const textEnds = Int32Array.from(tokens, (token) => {
    text += token;
    return text.length;
  });
  const logprobs = Float32Array.from(tokens, (_, i) => Math.log(probabilities?.[i] ?? 0.9));
  return { text, textEnds, logprobs };
}

const parse = (options: unknown): Segmentation => segmentationSchema.parse(options);
const starts = (r: ReturnType<typeof response>, options: unknown) =>
  segmentResponse(r, parse(options)).map((s) => s.start);

describe('segmentResponse', () => {
  it('cuts after lines that hold something', () => {
    expect(starts(response(['a', '\n', '\n', 'b', '\n', 'c']), { by: 'line' })).toEqual([0, 2, 5]);
  });

  it('cuts after sentences, not after a decimal point', () => {
    const tokens = ['It', ' is', ' 3', '.', '5', '.', ' Yes', '!', ' And', ' so', '.'];
    expect(starts(response(tokens), { by: 'sentence' })).toEqual([0, 8]);
  });

  it('cuts every n tokens, at most n times', () => {
    const nine = response(Array.from({ length: 9 }, () => 'x'));
    expect(starts(nine, { by: 'tokens', tokens: 2 })).toEqual([0, 2, 4, 6, 8]);
    expect(starts(nine, { by: 'tokens', tokens: 2, at_most: 3 })).toEqual([0, 2, 4]);
  });

  it('cuts after unlikely tokens, no closer than told', () => {
    const r = response(['a', 'b', 'c', 'd', 'e'], [0.1, 0.9, 0.1, 0.1, 0.9]);
    expect(starts(r, { by: 'low-probability' })).toEqual([0, 1, 3, 4]);
    expect(starts(r, { by: 'low-probability', minimum_tokens: 2 })).toEqual([0, 3]);
  });

  it('cuts where a pattern ends: the miniature’s labelled steps, the last `.` with the last step', () => {
    const r = response(['a', ' 2', ' b', ' 6', ' c', ' 1', ' .']);
    const segments = segmentResponse(r, parse({ by: 'pattern', pattern: '[a-l] \\d', at_most: 3 }));
    expect(segments).toEqual([
      { start: 0, end: 2 },
      { start: 2, end: 4 },
      { start: 4, end: 7 },
    ]);
    expect(segments.map((s) => textBefore(r, s))).toEqual(['', 'a 2', 'a 2 b 6']);
  });

  const token = fc.constantFrom('a', ' b', '\n', '.', '!', ' 3', '5', 'é', '😀', ' ');
  const any = fc.array(fc.tuple(token, fc.double({ min: 0.01, max: 1, noNaN: true })), {
    minLength: 1,
    maxLength: 30,
  });
  const options = fc.constantFrom<unknown>(
    { by: 'line' },
    { by: 'sentence', at_most: 4 },
    { by: 'tokens', tokens: 3 },
    { by: 'low-probability', minimum_tokens: 2 },
    { by: 'pattern', pattern: '[ab]' },
  );
  const make = (pairs: [string, number][]) =>
    response(
      pairs.map(([text]) => text),
      pairs.map(([, probability]) => probability),
    );

  it('covers every token exactly once, with at most `at_most` segments', () => {
    fc.assert(
      fc.property(any, options, (pairs, o) => {
        const segments = segmentResponse(make(pairs), parse(o));
        expect(segments[0]!.start).toBe(0);
        expect(segments.at(-1)!.end).toBe(pairs.length);
        segments.slice(1).forEach((s, i) => {
          expect(s.start).toBe(segments[i]!.end);
        });
        expect(segments.length).toBeLessThanOrEqual(parse(o).at_most);
      }),
    );
  });

  it('is causal: changing token t or a later one never changes the state whose value is subtracted for token t', () => {
    fc.assert(
      fc.property(any, any, options, fc.nat(), (pairs, other, o, at) => {
        const t = at % pairs.length;
        const changed = [...pairs.slice(0, t), ...other];
        const stateOf = (p: [string, number][]) => {
          const r = make(p);
          return textBefore(r, segmentResponse(r, parse(o)).find((s) => s.start <= t && t < s.end)!);
        };
        expect(stateOf(changed)).toBe(stateOf(pairs));
      }),
      { numRuns: 500 },
    );
  });
});

describe('the rules without regular expressions', () => {
  // What they stand for, in words that are slow: at every token these read the whole segment, some of it again and again.
  const line = /[^\s][^\n]*\n$/u;
  const sentence = /(?:^|[^\d\s])[.!?…]+["'”’)\]]*\s*$/u;
  const text = fc.string({
    unit: fc.constantFrom('a', '7', '.', '!', '…', '"', '”', ')', ' ', '\n', '\t', '😀', '\u00a0'),
    maxLength: 12,
  });

  it('say the same', () => {
    fc.assert(
      fc.property(text, text, text, (before, segment, after) => {
        const [from, to] = [before.length, before.length + segment.length];
        const all = before + segment + after;
        expect(endsLine(all, from, to)).toBe(line.test(segment));
        expect(endsSentence(all, from, to)).toBe(sentence.test(segment));
      }),
      { numRuns: 3000 },
    );
  });
});
