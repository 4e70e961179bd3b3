import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseScore } from '../../src/text/score.ts';

describe('parseScore', () => {
  it.each([
    ['reasons\n<score>7</score>', 7],
    ['<score>0</score>', 0],
    ['<score>10</score>\n', 10],
    ['<score> 3\t</score>  ', 3],
    ['first <score>2</score> then <score>9</score>', 9],
    ['an open <score> tag, then <score>4</score>', 4],
  ])('reads %j', (text, score) => {
    expect(parseScore(text)).toMatchObject({ score, value: score / 10 });
  });

  it.each([
    '',
    'seven',
    '<score>7',
    '<score>11</score>',
    '<score>07</score>',
    '<score>+7</score>',
    '<score>-1</score>',
    '<score>7.0</score>',
    '<score>7/10</score>',
    '<score>1e1</score>',
    '<score></score>',
    '<score>٧</score>',
    '<score>７</score>',
    '<score>\u00a07</score>',
    '<score>7</score> and more',
    '<score>7</score><score>',
    '<score>5</score> <score>x</score>',
    '<Score>7</Score>',
  ])('calls %j malformed', (text) => {
    expect(parseScore(text)).toBeNull();
  });

  it('gives the rationale before the tag that counts', () => {
    expect(parseScore(' a <score>1</score> b <score>2</score>')?.rationale).toBe(
      'a <score>1</score> b',
    );
  });

  it('reads what a format writes, for any rationale without the marks', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 0, max: 10 }), (rationale, score) => {
        fc.pre(!rationale.includes('<score>'));
        expect(parseScore(`${rationale}<score>${score}</score>`)?.score).toBe(score);
      }),
    );
  });

  it('never reads anything but 0..10, and never throws', () => {
    const soup = fc.array(
      fc.constantFrom('<score>', '</score>', '<', '7', '10', '11', ' ', '.', '-', 'x', '\n'),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(soup, (parts) => {
        const parsed = parseScore(parts.join(''));
        if (parsed) expect([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).toContain(parsed.score);
      }),
      { numRuns: 2000 },
    );
  });

  it('takes a format of one’s own as strictly: `# 7 .`', () => {
    const format = { open: '#', close: '.' };
    expect(parseScore('a -2 2 2 Y left 7 # 7 .', format)).toMatchObject({
      score: 7,
      rationale: 'a -2 2 2 Y left 7',
    });
    expect(parseScore('left 7 # 7', format)).toBeNull();
    expect(parseScore('left 7 # 7 8 .', format)).toBeNull();
  });
});
