/**
 * What an iteration costs with each critic, on paper: tokens by part, for responses of the paper's
 * scale. Counted, not measured; docs/bench-critic-savings.md has the table, between marks.
 *
 *     node --import tsx bench/cost.ts [--prompts 128] [--responses 8] [--tokens 1024]
 *         [--states 16] [--prompt 128] [--instructions 350] [--words 150]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const { values: given } = parseArgs({
  options: {
    prompts: { type: 'string', default: '128' },
    responses: { type: 'string', default: '8' },
    /** Of a response. */
    tokens: { type: 'string', default: '1024' },
    /** Of each response, s_0 among them, which its group shares. */
    states: { type: 'string', default: '16' },
    /** Tokens of a problem. */
    prompt: { type: 'string', default: '128' },
    /** Tokens of the critic's prompt beside the problem and the response. */
    instructions: { type: 'string', default: '350' },
    /** Tokens that the critic writes of a state. */
    words: { type: 'string', default: '150' },
  },
});
const [prompts, responses, tokens, states, prompt, instructions, words] = [
  given.prompts,
  given.responses,
  given.tokens,
  given.states,
  given.prompt,
  given.instructions,
  given.words,
].map(Number) as [number, number, number, number, number, number, number];

interface Cost {
  /** Tokens read in one pass, whatever is shared. */
  readonly read: number;
  /** The same, where the beginnings that prompts share are read once. */
  readonly shared: number;
  readonly written: number;
  readonly trained: number;
}

const all = prompts * responses;
/** s_0 of each group, and the later states of each response. */
const count = prompts + all * (states - 1);
/** State k of n has k / n of the response. */
const before = Array.from({ length: states }, (_, k) => (k * tokens) / states);
const later = before.slice(1).reduce((sum, own) => sum + own, 0);

/** The actor's own: each prompt read once, responses written, and one pass over all of it. */
const actor: Cost = {
  ...{ read: prompts * prompt, shared: prompts * prompt },
  ...{ written: all * tokens, trained: all * (prompt + tokens) },
};
const none: Cost = { read: 0, shared: 0, written: 0, trained: 0 };

/** @param completions of each state @param length of one */
function generative(completions: number, length: number): Cost {
  const read = count * (prompt + instructions) + all * later;
  // Instructions behind the response are not shared; the response's longest prefix is read once.
  const shared = prompts * prompt + all * before.at(-1)! + count * instructions;
  const written = count * completions * length;
  return { read, shared, written, trained: completions * read + written };
}

const whole = all * (prompt + tokens);
const rows: readonly (readonly [string, Cost])[] = [
  ['GRPO (`group-mean`)', none],
  ['PPO (`value-head`)', { ...none, read: whole, shared: whole, trained: whole }],
  [
    'VinePPO (`monte-carlo`, 9)',
    {
      ...none,
      read: count * prompt + all * later,
      shared: prompts * prompt + all * before.at(-1)!,
      written: 9 * (prompts * tokens + all * before.slice(1).reduce((s, b) => s + tokens - b, 0)),
    },
  ],
  [`GenAC (${words} words of a state)`, generative(1, words)],
  [`GenAC, two completions`, generative(2, words)],
  [`GenAC, ${Math.round(words / 3)} words`, generative(1, words / 3)],
  ['no words (`language-model`, forced)', generative(1, 1)],
];

/** In passes over one token: reading and writing one each, training three. */
const passes = ({ shared, written, trained }: Cost) => shared + written + 3 * trained;

/** Were the beginnings of prompts read once in training too (which no trainer here does). */
const sharing = (cost: Cost): Cost => ({
  ...cost,
  trained: cost.trained === 0 ? 0 : Math.min(cost.trained, cost.shared + cost.written),
});

function table(): string {
  const base = passes(actor) + passes(rows.find(([name]) => name.startsWith('PPO'))![1]);
  const millions = (value: number) => (value / 1e6).toFixed(2);
  return [
    `${prompts} problems x ${responses} responses of ${tokens} tokens, ${states} states each; problems of ${prompt} tokens, ${instructions} more of the critic's prompt.`,
    '',
    '| critic | read (M) | with shared prefixes (M) | written (M) | trained (M) | actor and critic, against PPO | the same, with `share_prefixes` |',
    '|---|---|---|---|---|---|---|',
    `| the actor by itself | ${millions(actor.read)} | ${millions(actor.shared)} | ${millions(actor.written)} | ${millions(actor.trained)} | | |`,
    ...rows.map(
      ([name, cost]) =>
        `| ${name} | ${millions(cost.read)} | ${millions(cost.shared)} | ${millions(cost.written)} | ${millions(cost.trained)} | ${((passes(actor) + passes(cost)) / base).toFixed(2)} | ${((passes(actor) + passes(sharing(cost))) / base).toFixed(2)} |`,
    ),
    '',
  ].join('\n');
}

const measured = table();
const document = 'docs/bench-critic-savings.md';
const [begin, end] = ['<!-- on paper -->\n', '<!-- end of paper -->'];
const [head, rest] = readFileSync(document, 'utf8').split(begin);
if (rest === undefined) throw new Error(`${document} lacks ${begin}`);
writeFileSync(document, head + begin + measured + end + rest.split(end)[1]);
console.log(measured);
