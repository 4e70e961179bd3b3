import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { segmentResponse, textBefore } from '../../src/text/segment.ts';
import { parse, response, starts } from './responses.ts';

describe('segmentResponse', () => {
  it('cuts between lines that hold something, once the next one begins', () => {
    expect(starts(response(['a', '\n', '\n', 'b', '\n', 'c', 'd']), { by: 'line' })).toEqual([
      0, 4, 6,
    ]);
    expect(starts(response(['a', ' ', '\n', ' ', '\n', '']), { by: 'line' })).toEqual([0]);
  });

  it('cuts after sentences, not after a decimal point', () => {
    const tokens = ['It', ' is', ' 3', '.', '5', '.', ' Yes', '!', ' And', ' so', '.'];
    expect(starts(response(tokens), { by: 'sentence' })).toEqual([0, 7, 9]);
  });

  it('cuts every n tokens, at most n times', () => {
    const nine = response(Array.from({ length: 9 }, () => 'x'));
    expect(starts(nine, { by: 'tokens', tokens: 2 })).toEqual([0, 2, 4, 6, 8]);
    expect(starts(nine, { by: 'tokens', tokens: 2, max_segments: 3 })).toEqual([0, 2, 4]);
  });

  it('cuts after unlikely tokens, no closer than told', () => {
    const r = response(['a', 'b', 'c', 'd', 'e'], [0.1, 0.9, 0.1, 0.1, 0.9]);
    expect(starts(r, { by: 'low-probability' })).toEqual([0, 1, 3, 4]);
    expect(starts(r, { by: 'low-probability', min_tokens: 2 })).toEqual([0, 3]);
  });

  it('cuts where a pattern ends: the miniature’s labelled steps, the last `.` with the last step', () => {
    const r = response(['a', ' 2', ' b', ' 6', ' c', ' 1', ' .']);
    const segments = segmentResponse(
      r,
      parse({ by: 'pattern', pattern: '[a-l] \\d', max_segments: 3 } as object),
    );
    expect(segments).toEqual([
      { start: 0, end: 2 },
      { start: 2, end: 4 },
      { start: 4, end: 7 },
    ]);
    expect(segments.map((s) => textBefore(r, s))).toEqual(['', 'a 2', 'a 2 b 6']);
  });

  const token = fc.constantFrom(
    ...[
      'a',
      ' b',
      ' Big',
      'Big',
      '\n',
      '\n\n',
      '.',
      '!',
      '!!',
      '...',
      ' 3',
      '5',
      'é',
      '😀',
      ' ',
      '',
      '。',
      '我',
      '”',
    ],
    ...[
      '$',
      '$$',
      ' $',
      '\\',
      '(',
      '\\)',
      '**',
      '. ',
      '.\n',
      ' i',
      'e',
      ',',
      ' |',
      '```',
      '{',
      '}',
      'begin',
      ' Dr',
      '।',
    ],
  );
  const any = fc.array(fc.tuple(token, fc.double({ min: 0.01, max: 1, noNaN: true })), {
    minLength: 1,
    maxLength: 60,
  });
  const options = fc.constantFrom<object>(
    { by: 'line' },
    { by: 'line', budget: 30, max_segments: 3 },
    { by: 'sentence', max_segments: 4 },
    { by: 'sentence', budget: 60 },
    { by: 'sentence', min_tokens: 3, budget: 1000 },
    { by: 'tokens', tokens: 3 },
    { by: 'low-probability', min_tokens: 2 },
    { by: 'pattern', pattern: '[ab]' },
  );
  const make = (pairs: [string, number][]) =>
    response(
      pairs.map(([text]) => text),
      pairs.map(([, probability]) => probability),
    );

  it('covers every token exactly once, with at most `max_segments` segments', () => {
    fc.assert(
      fc.property(any, options, (pairs, o) => {
        const segments = segmentResponse(make(pairs), parse(o));
        expect(segments[0]!.start).toBe(0);
        expect(segments.at(-1)!.end).toBe(pairs.length);
        segments.slice(1).forEach((s, i) => {
          expect(s.start).toBe(segments[i]!.end);
          expect(s.end - s.start).toBeGreaterThan(0);
        });
        expect(segments.length).toBeLessThanOrEqual(parse(o).max_segments);
        const { min_tokens } = parse(o);
        for (const s of segments.slice(0, -1))
          expect(s.end - s.start).toBeGreaterThanOrEqual(min_tokens);
      }),
      { numRuns: 500 },
    );
  });

  it('is causal: changing token t or a later one never changes the state whose value is subtracted for token t', () => {
    fc.assert(
      fc.property(
        any,
        fc.array(fc.tuple(token, fc.constant(0.5)), { maxLength: 40 }),
        options,
        fc.nat(),
        (pairs, other, o, at) => {
          const t = at % pairs.length;
          const stateOf = (p: [string, number][]) => {
            const r = make(p);
            return textBefore(
              r,
              segmentResponse(r, parse(o)).find((s) => s.start <= t && t < s.end)!,
            );
          };
          // Another token t and others after it; and nothing after it.
          for (const changed of [
            [...pairs.slice(0, t), ['Z', 0.5] as [string, number], ...other],
            pairs.slice(0, t + 1),
          ])
            expect(stateOf(changed)).toBe(stateOf(pairs));
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('by pattern', () => {
  it('cuts where the text so far ends with a match, as if each end was tried', () => {
    const patterns = ['ab', 'a+b', '[^a]', 'b*', '(?<=a)b', 'a$', '^a', '\\bb', 'a|bb', '(?=b)'];
    const text = fc.string({
      unit: fc.constantFrom('a', 'b', ' ', '😀'),
      minLength: 1,
      maxLength: 30,
    });
    fc.assert(
      fc.property(
        text,
        fc.constantFrom(...patterns),
        fc.integer({ min: 1, max: 3 }),
        (all, pattern, size) => {
          const tokens = all.match(new RegExp(`.{1,${size}}`, 'gu'))!;
          const ends = new RegExp(`(?:${pattern})$`, 'u');
          const expected = [0];
          for (let t = 1; t < tokens.length && expected.length < 16; t++)
            if (ends.test(tokens.slice(expected.at(-1)!, t).join(''))) expected.push(t);
          expect(starts(response(tokens), { by: 'pattern', pattern })).toEqual(expected);
        },
      ),
      { numRuns: 1000 },
    );
  });
});
