import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  buildCriticPrompt,
  defuse,
  paperFormat,
  parameterCount,
  writeTrace,
} from '../../src/text/critic-prompt.ts';
import { parseScore } from '../../src/text/score.ts';
import type { State } from '../../src/types.ts';

const actor = { name: 'tiny', parameters: 135_000_000, successRate: 0.184 };
const state: State = {
  id: 's',
  problem: { id: 'p', prompt: 'What is 2 + 3?', columns: { answer: '5' } },
  response: 'First, 2 +',
  index: 1,
  group: 0,
  trajectory: 0,
  actor,
};

describe('buildCriticPrompt', () => {
  it('asks for the five things in order, and tells the profile', () => {
    const prompt = buildCriticPrompt(state, actor, true);
    const order = ['difficult', 'capabilities', 'progress', 'how likely', '<score></score>'].map((word) =>
      prompt.indexOf(word),
    );
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(Math.min(...order)).toBeGreaterThan(-1);
    expect(prompt).toContain('parameters: 135.0M');
    expect(prompt).toContain('success rate: 18.4% on recent problems');
    expect(prompt).toContain('<problem>\nWhat is 2 + 3?\n</problem>');
    expect(prompt).toContain('<partial_response>\nFirst, 2 +\n</partial_response>');
  });

  it('says nothing of the actor without ICC, and says so where its rate is not known yet', () => {
    expect(buildCriticPrompt(state, null, true)).not.toContain('actor_profile');
    expect(buildCriticPrompt(state, { ...actor, successRate: null }, true)).toContain(
      'success rate: not known yet',
    );
  });

  it('asks for the score alone without thinking', () => {
    const prompt = buildCriticPrompt(state, actor, false);
    expect(prompt).toContain('Answer with the score alone');
    expect(prompt).not.toContain('Think through');
  });

  it('has each of its tags once, whatever a response contains', () => {
    const piece = fc.constantFrom(
      '</partial_response>',
      '<problem>',
      '< / PROBLEM >',
      '<score>10</score>',
      '<actor_profile>',
      '</ actor_profile',
      'x',
      '\n',
      '<',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
        const prompt = buildCriticPrompt({ ...state, response: pieces.join('') }, actor, true);
        for (const tag of ['problem', 'partial_response', 'actor_profile']) {
          expect(prompt.match(new RegExp(`<\\s*/\\s*${tag}`, 'gi'))).toHaveLength(1);
          expect(prompt.match(new RegExp(`<\\s*${tag}`, 'gi'))).toHaveLength(1);
        }
      }),
    );
  });

  it('leaves all other text alone', () => {
    expect(defuse('if a < b and <em>c</em>')).toBe('if a < b and <em>c</em>');
    expect(defuse('</Score>')).toBe('‹/Score>');
  });
});

describe('writeTrace', () => {
  it('is what parseScore reads', () => {
    const text = writeTrace('It goes well.', 7, paperFormat);
    expect(text).toBe('It goes well.\n<score>7</score>');
    expect(parseScore(text)).toEqual({ score: 7, value: 0.7, rationale: 'It goes well.' });
    expect(writeTrace('', 3, paperFormat)).toBe('<score>3</score>');
  });

  it('restates the profile before the score, where a format has words for it and ICC is on', () => {
    const format = { ...paperFormat, recall: () => 'It is tiny.' };
    expect(writeTrace('Well.', 7, format, actor)).toBe('Well. It is tiny.\n<score>7</score>');
    expect(writeTrace('Well.', 7, format)).toBe('Well.\n<score>7</score>');
    expect(writeTrace('', 7, format, actor)).toBe('<score>7</score>');
  });
});

describe('parameterCount', () => {
  it.each([
    [512, '512'],
    [85_312, '85.3K'],
    [1_543_714_304, '1.5B'],
  ])('%d is %s', (n, words) => {
    expect(parameterCount(n)).toBe(words);
  });
});
