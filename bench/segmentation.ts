/**
 * How candidate defaults of segmentation cut real kinds of text: the responses in
 * `test/fixtures/responses`, each alone and in a row of four, as long responses are. Prints the
 * tables of `docs/segmentation.md`.
 *
 *     npx tsx bench/segmentation.ts
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type BudgetedSegmentation, segmentResponse, textStarts } from '../src/text/segment.ts';
import { shareOf } from '../src/text/share.ts';

const folder = fileURLToPath(new URL('../test/fixtures/responses', import.meta.url));
const texts = readdirSync(folder).map((file) => ({
  name: file.replace('.txt', ''),
  text: readFileSync(`${folder}/${file}`, 'utf8').trimEnd(),
}));

/**
 * As byte-level BPE cuts: words with the blank before them, in pieces of at most 7 letters; digits
 * alone; marks.
 */
const piece =
  / ?\p{Script=Han}| ?[\p{Script=Hiragana}\p{Script=Katakana}]{1,2}|'(?:s|t|re|ve|m|ll|d)| ?[\p{L}\p{M}]{1,7}| ?\p{N}| ?[^\s\p{L}\p{N}]{1,3}\n*|\s+(?!\S)|\s+/gu;

interface Tokenized {
  readonly tokens: readonly string[];
  readonly response: { text: string; textEnds: Int32Array; logprobs: Float32Array };
}

/** With an end-of-sequence token, which has no text. */
function tokenized(text: string): Tokenized {
  const tokens = [...(text.match(piece) ?? []), ''];
  let end = 0;
  const textEnds = Int32Array.from(tokens, (token) => {
    end += token.length;
    return end;
  });
  return { tokens, response: { text, textEnds, logprobs: new Float32Array() } };
}

/** What a cut should not be in. */
const whole: Readonly<Record<string, RegExp>> = {
  formula:
    /\$\$[^$]+\$\$|\$(?!\d+[.,;]?\s+\p{L}{2})[^$\n]+\$|\\\(.+?\\\)|\\\[.+?\\\]|\\begin\{align\*\}.+?\\end\{align\*\}/gsu,
  number: /\d+(?:[.,]\d+)+/gu,
  abbreviation: /\b(?:i\.e|e\.g|cf|Dr|Mr|Fig|Eq)\. ?\S/gu,
  word: /\p{Script=Latin}{2,}/gu,
};

interface Row {
  readonly name: string;
  readonly starts: (tokenized: Tokenized) => readonly number[];
}

const before = '[^\\d\\s][.!?…]+["\'”’)\\]]*\\s*|[.!?…][.!?…]+["\'”’)\\]]*\\s*|\\S[^\\n]*\\n';
const base = { max_segments: 16, min_tokens: 1 } as const;
const rule = (name: string, options: BudgetedSegmentation): Row => ({
  name,
  starts: ({ response }) => segmentResponse(response, options).map(({ start }) => start),
});
const grown = (name: string, budget: number | null, growth: number): Row => ({
  name,
  starts: ({ response }) =>
    textStarts(response, 'sentence', { by: 'sentence', ...base, budget }, null, (place) =>
      shareOf(place, { withBudget: growth, without: growth }),
    ).map(({ token }) => token),
});
const rows: readonly Row[] = [
  rule('every mark and line, the first 15', { by: 'pattern', pattern: before, ...base }),
  rule('every 64 tokens', { by: 'tokens', tokens: 64, ...base }),
  rule('line, budget 2048', { by: 'line', ...base, budget: 2048 }),
  ...[1, 1.15, 1.25, 1.4].map((g) => grown(`sentence, budget 2048, growth ${g}`, 2048, g)),
  ...[1.2, 1.3, 1.4, 1.5].map((g) => grown(`sentence, no budget, growth ${g}`, null, g)),
];

function measured(all: readonly Tokenized[], { starts }: Row): string[] {
  let cuts = 0;
  let segments = 0;
  let largest = 0;
  let alone = 0;
  const inside = Object.fromEntries(Object.keys(whole).map((kind) => [kind, 0]));
  for (const one of all) {
    const { tokens, response } = one;
    const found = starts(one);
    segments += found.length;
    cuts += found.length - 1;
    const lengths = found.map((start, i) => (found[i + 1] ?? tokens.length) - start);
    largest += Math.max(...lengths) / tokens.length;
    if (found.length > 1 && !/[\p{L}\p{N}]/u.test(tokens.slice(found.at(-1)!).join(''))) alone++;
    for (const [kind, pattern] of Object.entries(whole))
      for (const { index, 0: match } of response.text.matchAll(pattern))
        for (const start of found.slice(1)) {
          const at = response.textEnds[start - 1]!;
          if (at > index && at < index + match.length) inside[kind]!++;
        }
  }
  const share = (count: number) => `${Math.round((100 * count) / Math.max(1, cuts))}%`;
  return [
    (segments / all.length).toFixed(1),
    `${Math.round((100 * largest) / all.length)}%`,
    ...Object.values(inside).map(share),
    `${alone} of ${all.length}`,
  ];
}

const heads = [
  'rule',
  'segments',
  'largest',
  ...Object.keys(whole).map((kind) => `cuts in: ${kind}`),
  'nothing in the last',
];
for (const [title, times] of [
  ['each alone', 1],
  ['four in a row', 4],
] as const) {
  const all = texts.map((_, i) =>
    tokenized(
      Array.from({ length: times }, (_, k) => texts[(i + k) % texts.length]!.text).join('\n\n'),
    ),
  );
  const tokens = all.map(({ tokens: own }) => own.length);
  console.log(
    `\n${title}: ${all.length} responses of ${Math.min(...tokens)} to ${Math.max(...tokens)} ` +
      'tokens\n',
  );
  console.log(`| ${heads.join(' | ')} |\n|${heads.map(() => '---|').join('')}`);
  for (const row of rows) console.log(`| ${[row.name, ...measured(all, row)].join(' | ')} |`);
}
