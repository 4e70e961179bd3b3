import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { segmentationSchema, segmentResponse } from '../../src/text/segment.ts';
import { prefixesOfText } from '../../src/text/segment-text.ts';
import { parse, response, starts, texts, tokensOf } from './responses.ts';

describe('by sentence', () => {
  it.each([
    [
      'ends in digits',
      'The sum is 42. Next we add 3. Then 5.',
      ['The sum is 42. Next', ' we add 3. Then', ' 5.'],
    ],
    ['Chinese', '我们先算。然后再加！对吗？好。', ['我们先算。然', '后再加！对', '吗？好', '。']],
    ['Japanese, a quote', '「はい。」次は何か。', ['「はい。」次', 'は何か。']],
    ['Hindi', 'यह एक है। अब दो है॥ अंत में', ['यह एक है। अ', 'ब दो है॥ अ', 'ंत में']],
    ['Arabic', 'هل هذا؟ نعم هو۔ ثم نقف', ['هل هذا؟ ن', 'عم هو۔ ث', 'م نقف']],
    ['Armenian', 'Այո։ Ոչ չէ։ Լավ է', ['Այո։ Ոչ', ' չէ։ Լավ', ' է']],
    ['Ethiopic', 'አዎ።አይ ነው', ['አዎ።አ', 'ይ ነው']],
    ['full-width', 'ＡＢ．５も。はい！次に', ['ＡＢ．５も。は', 'い！次', 'に']],
    ['a full-width point', 'これは文．次の文．３．５も文', ['これは文．次', 'の文．３．５も文']],
    ['Hebrew', 'זה נכון. אז נמשיך הלאה', ['זה נכון. א', 'ז נמשיך הלאה']],
    ['Korean', '맞습니다. 그래서 끝났다', ['맞습니다. 그', '래서 끝났다']],
    [
      'Spanish',
      'Es así. ¿Por qué? ¡Vale ya! Adiós a ti',
      ['Es así. ¿Por', ' qué? ¡Vale', ' ya! Adiós', ' a ti'],
    ],
    [
      'marks as several tokens',
      'Wow!!! Then it goes... On it is',
      ['Wow!!! Then', ' it goes... On', ' it is'],
    ],
    [
      'bold',
      '**This is bold.** Next **one!** It is',
      ['**This is bold.** Next', ' **one!** It', ' is'],
    ],
    [
      'quotes',
      'He said “Go.” Then she said "No!" And so',
      ['He said “Go.” Then', ' she said "No!" And', ' so'],
    ],
    ['brackets', 'It is so (as we saw.) Now go on', ['It is so (as we saw.) Now', ' go on']],
    ['French', 'Vraiment ? Oui, bien. Alors on va', ['Vraiment ? Oui', ', bien. Alors', ' on va']],
    [
      'a quote that opens',
      'It is so. "Why is it?" They ask',
      ['It is so. "Why', ' is it?" They', ' ask'],
    ],
  ])('cuts after each sentence: %s', (_, text, expected) => {
    expect(texts(text)).toEqual(expected);
  });

  it.each([
    ['a decimal', 'It is 3.5 and 4. 5'],
    ['a field', 'Then obj.field is x!y and a?b:c of main.py are set'],
    [
      'abbreviations',
      'We use e.g. Small ones, i.e. $x$, of Dr. Smith in Fig. 3, eq. (2), the U.S. Army, no. ' +
        '5 vs. Him',
    ],
    ['marks between blanks', 'Take a . B and c ? 4 and x ! Y and . Z'],
    ['a small letter', 'And so on... but "Why?" he said'],
    ['list marks', '1. First'],
    ['a formula', 'Here $a. B = 3! C$ and $$x. Y\nz. W$$ and \\(p. Q\\) and \\[r. S\\] go'],
    ['an environment', 'Here \\begin{align*}a. B\nc. D\\end{align*} go'],
    ['the end', 'It is so.'],
    ['the end and blanks', 'It is so. \n\n \n'],
    ['the end in bold', 'It is **42.**\n'],
    ['an answer in a box', 'It is so \\boxed{42}.\n'],
  ])('does not cut in %s', (_, text) => {
    expect(texts(text)).toEqual([text]);
  });

  it('makes no segment of what comes after an answer: its last mark, blanks, the end-of-sequence token', () => {
    const word = fc.constantFrom('we', 'Add', 'so', '12', '$x$', 'it', '**all**');
    const sentence = fc.tuple(
      fc.array(word, { minLength: 3, maxLength: 8 }),
      fc.constantFrom('.', '!', '?', '...', '.**'),
    );
    const end = fc.constantFrom('', ' ', '\n', '\n\n', '\n```', ' \n');
    fc.assert(
      fc.property(
        fc.array(sentence, { minLength: 1, maxLength: 12 }),
        end,
        fc.constantFrom('line', 'sentence'),
        (all, rest, by) => {
          const text = all
            .map(([words, mark]) => `So that ${words.join(' ')}${mark}`)
            .join(by === 'line' ? '\n' : ' ');
          expect(texts(text + rest, { by }).at(-1)).toMatch(/[\p{L}\p{N}]/u);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('cuts before a formula once it has ended, and none of what is only money is one', () => {
    expect(texts('We see. $x. Y$ is it.')).toEqual(['We see. $x. Y$ is', ' it.']);
    expect(texts('It costs $5. Then it is $7,000. But then he paid.')).toEqual([
      'It costs $5. Then',
      ' it is $7,000. But',
      ' then he paid.',
    ]);
  });

  it('cuts code between lines alone', () => {
    expect(texts('```python\nx = f. G\nreturn x\n```\n')).toEqual([
      '```python\nx',
      ' = f. G\nreturn',
      ' x\n```\n',
    ]);
  });

  it('cuts between calculations, which hold no word', () => {
    expect(texts('3 + 4 = 7\n7 * 2 = 14\n42.')).toEqual(['3 + 4 = 7\n7 * 2 =', ' 14\n42.']);
  });

  const sentences = (count: number) =>
    Array.from({ length: count }, (_, i) => `It is ${i}.`).join(' ');

  it.each([null, 500, 1000])('spreads its cuts over a long response (budget %s)', (budget) => {
    const found = segmentResponse(
      response(tokensOf(sentences(73))),
      parse({ by: 'sentence', budget } as object),
    );
    const tokens = found.at(-1)!.end;
    expect(found.length).toBeGreaterThan(10);
    expect(Math.max(...found.map((s) => s.end - s.start))).toBeLessThan(0.3 * tokens);
  });

  const words = [' a', ' B', '.', ',', '\n', ' 7', '。', '我'];
  it.each([
    ['no segment is longer than its share of what is left', words, 1],
    ['with formulas, than twice its share', [...words, ' $', '$'], 2],
  ])('has cuts left until the budget ends: %s', (_, some, times) => {
    const many = fc.array(fc.constantFrom(...some), { minLength: 100, maxLength: 400 });
    const count = fc.integer({ min: 2, max: 16 });
    fc.assert(
      fc.property(many, count, fc.integer({ min: 0, max: 400 }), (tokens, max_segments, unused) => {
        const budget = tokens.length + unused;
        const visible = tokens.map((token) => token.trim() !== '');
        const found = segmentResponse(
          response(tokens),
          parse({ by: 'sentence', max_segments, budget } as object),
        );
        found.slice(0, max_segments - 1).forEach(({ start, end }, k) => {
          const share = times * Math.max(32, Math.ceil((budget - start) / (max_segments - k)));
          // Blanks alone are nothing to cut: they add to what is before them.
          expect(visible.slice(start + share - 1, end - 1)).not.toContain(true);
        });
        expect(found.length).toBeLessThanOrEqual(max_segments);
        // The last of n lengths that grow by 1.25 and together are the budget; each is rounded down
        // to whole tokens.
        const ofLast = (1.25 ** (max_segments - 1) * 0.25) / (1.25 ** max_segments - 1);
        const last = found.at(-1)!;
        if (found.length === max_segments)
          expect(last.end - last.start).toBeLessThanOrEqual(ofLast * budget + max_segments);
      }),
      { numRuns: 300 },
    );
  });

  it('cuts a text without marks at its fair share, a long sentence at the end of a clause', () => {
    const unmarked = response(Array.from({ length: 400 }, () => ' word'));
    // 0.9 of 400 / 4; of (400 - 90) / 3, rounded up; of (400 - 184) / 2.
    expect(starts(unmarked, { by: 'sentence', max_segments: 4, budget: 400 })).toEqual([
      0, 90, 184, 282,
    ]);
    expect(starts(unmarked, { by: 'line' }).length).toBeGreaterThan(3);
    const clause = [
      ...Array.from({ length: 50 }, () => ' word'),
      ',',
      ...Array.from({ length: 40 }, () => ' word'),
    ];
    expect(starts(response(clause), { by: 'sentence' })).toEqual([0, 52]);
  });

  it('cuts a text alone where its sentences end', () => {
    const rule = segmentationSchema.parse({ by: 'sentence' });
    expect(prefixesOfText('It is 3.5. **So.** 好的。“是。” And\nlast.\n', rule)).toEqual([
      '',
      'It is 3.5.',
      'It is 3.5. **So.**',
      'It is 3.5. **So.** 好的。',
      'It is 3.5. **So.** 好的。“是。”',
      'It is 3.5. **So.** 好的。“是。” And\n',
    ]);
  });
});
