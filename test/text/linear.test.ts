/**
 * Every text function takes linear time, whatever the text: a megabyte never holds the event loop
 * for long.
 */
import { describe, expect, it } from 'vitest';
import { mapYielding } from '../../src/event-loop.ts';
import {
  buildCriticPrompt,
  paperFormat,
  promptText,
  safeFormat,
  writeTrace,
} from '../../src/text/critic-prompt.ts';
import { defuse, tagsWith } from '../../src/text/defuse.ts';
import { printable, printableLine } from '../../src/text/printable.ts';
import { parseScore } from '../../src/text/score.ts';
import { segmentationSchema, segmentResponse } from '../../src/text/segment.ts';
import { prefixesOfText } from '../../src/text/segment-text.ts';

const MEGABYTE = 1_000_000;
const repeated = (text: string) => text.repeat(MEGABYTE / text.length + 1).slice(0, MEGABYTE);
const nasty: Readonly<Record<string, string>> = {
  blanks: repeated(' '),
  'line breaks': repeated('\n'),
  'blank lines': repeated(' \n\t'),
  brackets: repeated('<'),
  'brackets and blanks': `<${repeated(' ')}`,
  'brackets and slashes': repeated('</'),
  'open tags': repeated('<score>'),
  'close tags': repeated('</score>'),
  'invisible characters': repeated('<\u200b'),
  'full-width': repeated('＜ｓ'),
  'brackets and dashes': `<${repeated('\u2010')}`,
  'brackets and what closes': `(<${repeated('x <)')}`,
  'one bracket, and what closes': `<${repeated(')')}`,
  'symbols and no end': repeated('<√score\u200b'),
  'a symbol, and no end': `<√score${repeated('\u200b')}`,
  'dashes in a tag': repeated('<sc\u2010'),
  controls: repeated('\u0001'),
  'halves of pairs': repeated('\ud800'),
  marks: repeated('.'),
  'marks and blanks': repeated('! '),
  quotes: repeated('"'),
  'accents on one letter': `a${repeated('\u0301')}`,
  digits: repeated('1.'),
  formulas: repeated('$a '),
  'open formulas': repeated('\\('),
  environments: repeated('\\begin{a'),
  backticks: repeated('`'),
  turns: repeated('\nuser '),
  'signs before a turn': `\n${repeated('* ')}`,
  'one long role': `\n${repeated('user ')}`,
  Chinese: repeated('我们。'),
  emoji: repeated('😀'),
  English: repeated('The sum of all is 3.5. So we go on, and on! '),
  'one word': repeated('a'),
};

const actor = { name: 'a', parameters: 1, successRate: null };
const stateOf = (response: string, prompt = response) => ({
  ...{ id: 's', problem: { id: 'p', prompt, columns: {} }, response },
  ...{ index: 0, group: 0, trajectory: null, tokens: null, actor },
});
const tokensOf = (text: string, size: number) => ({
  text,
  textEnds: Int32Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
    Math.min(text.length, size * (i + 1)),
  ),
  logprobs: new Float32Array(),
});
const tokens = new Map(Object.values(nasty).map((text) => [text, tokensOf(text, 4)]));
const rules = (['sentence', 'line'] as const).map((by) => segmentationSchema.parse({ by }));
const grade = tagsWith({ open: '<grade>', close: '[[grade]]' });

const functions: Readonly<Record<string, (text: string) => unknown>> = {
  'parseScore, before the tag': (text) => parseScore(`${text}<score>7</score>`),
  'parseScore, in the tag': (text) => parseScore(`<score>${text}</score>`),
  'parseScore, after the tag': (text) => parseScore(`<score>7</score>${text}`),
  'parseScore, a format of one’s own': (text) =>
    parseScore(`${text}# 7 .`, { open: '#', close: '.' }),
  defuse: (text) => defuse(text),
  'defuse, tags of one’s own': (text) => defuse(text, grade),
  promptText: (text) => promptText([{ role: 'user', content: text }]),
  'buildCriticPrompt, the response': (text) => buildCriticPrompt(stateOf(text, 'p'), actor, true),
  'buildCriticPrompt, the name': (text) =>
    buildCriticPrompt(stateOf('r', 'p'), { ...actor, name: text }, true),
  safeFormat: (text) =>
    safeFormat({ ...paperFormat, prompt: () => '' }).prompt(stateOf(text, 'p'), null, true),
  writeTrace: (text) => writeTrace(text, 7, paperFormat),
  printable,
  printableLine,
  'by sentence': (text) => segmentResponse(tokens.get(text)!, rules[0]!),
  'by line': (text) => segmentResponse(tokens.get(text)!, rules[1]!),
  'by sentence, with a budget': (text) =>
    segmentResponse(tokens.get(text)!, { ...rules[0]!, budget: 250_000 }),
  'by pattern, the text alone': (text) =>
    prefixesOfText(text, segmentationSchema.parse({ by: 'pattern', pattern: 'none of it' })),
  'by sentence, the text alone': (text) => prefixesOfText(text, rules[0]!),
};

/**
 * Milliseconds of the processor, the best of some tries: other work on the machine is not the
 * function's.
 */
function best(work: () => unknown, enough: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 12 && least > enough; i++) {
    const began = performance.now();
    const before = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, performance.now() - began, (user + system) / 1000);
  }
  return least;
}

describe.each(Object.keys(functions))('a megabyte in %s', (name) => {
  it.each(Object.keys(nasty))('of %s', (kind) => {
    const text = nasty[kind]!;
    // 5 to 40 ms on a quiet machine, once compiled; what takes quadratic time takes minutes.
    expect(best(() => functions[name]!(text), 100)).toBeLessThan(250);
  });
});

describe('time', () => {
  it('of 8,192 tokens of 16 line breaks each is a moment', () => {
    const many = tokensOf('\n'.repeat(16 * 8192), 16);
    for (const rule of rules) expect(best(() => segmentResponse(many, rule), 25)).toBeLessThan(50);
  });

  it('is given to others between long texts', async () => {
    let turns = 0;
    let going = true;
    const count = () => {
      turns++;
      if (going) setImmediate(count);
    };
    setImmediate(count);
    const busy = () => {
      const began = performance.now();
      while (performance.now() - began < 6);
      return 1;
    };
    expect(await mapYielding(Array(10).fill(0), busy)).toEqual(Array(10).fill(1));
    going = false;
    // 60 ms of work, with a turn after every second item.
    expect(turns).toBeGreaterThanOrEqual(4);
  });
});
