import type { ConfigInput } from '../../config/schema.ts';
import { criticsEvaluation } from '../critics.ts';
import { jointConfig, type MethodKey, methods, startOf, trainBy } from '../methods.ts';
import type { Part, Results } from '../parts.ts';
import { type Setup, twoSampled } from '../setup.ts';
import { ONE_CORE, plain, type Row, type Table, valueIn } from '../table.ts';
import type { RunFigures } from '../work.ts';

interface Way {
  readonly key: MethodKey;
  /** It asks for words or steps of the miniature. */
  readonly ofMiniature?: true;
  /** Changes of the method's critic. */
  readonly critic?: Readonly<Record<string, unknown>>;
  /** Labelled steps in one segment. Default 1. */
  readonly segment?: number;
  /** The critic of table 3 whose prompts are as long; null: it reads none of its own. */
  readonly prompts: 'generative-expected' | 'language-model' | null;
}

const one = { completions_per_state: 1, read: 'expected', baseline: 'batch-mean' };
const words = { key: 'genac', prompts: 'generative-expected' } as const;

/** Methods, and the means of saving for the generative critic. */
const allWays: Readonly<Record<string, Way>> = {
  GRPO: { key: 'grpo', prompts: null },
  PPO: { key: 'ppo', prompts: null },
  VinePPO: { key: 'vineppo', prompts: null },
  'GenAC, two completions': words,
  'GenAC, one completion': { ...words, critic: { ...one, read: 'sampled' } },
  'GenAC, one, expected score': { ...words, critic: one },
  'the same, thoughts carried on': {
    ...{ ...words, ofMiniature: true },
    critic: { ...one, carry_until: 'left' },
  },
  'the same, two steps a segment': { ...words, ofMiniature: true, critic: one, segment: 2 },
  'the same, six of ten states': { ...words, critic: { ...one, share_of_states: 0.6 } },
  'the same, thinking until it is sure': {
    ...{ ...words, ofMiniature: true },
    critic: { ...one, answer: 'forced', sure_within: 0.1, look_every: 8 },
  },
  'GenAC, up to four where two disagree': {
    ...words,
    critic: { completions_per_state: 4, agree_within: 1 },
  },
  'critic without words, expected score': {
    ...{ key: 'silent', prompts: 'language-model' },
    critic: { ...one, answer: 'forced', max_new_tokens: 4 },
  },
};

/** A recipe may ask for another number of completions, or for a correction. */
function waysOf({ given }: Setup): [name: string, way: Way][] {
  return Object.entries(allWays).flatMap(([name, way]): [string, Way][] => {
    if (given && way.ofMiniature) return [];
    if (way.prompts === null) return [[name, way]];
    const drawn = given
      ? way === words && { completions_per_state: 2 }
      : way.key === 'genac' && twoSampled;
    const uncorrected = way.key === 'silent' && { importance_sampling: null };
    const critic = { agree_within: null, ...drawn, ...way.critic, ...uncorrected };
    return [[name, { ...way, critic }]];
  });
}

function run(setup: Setup, seed: number, name: string): Part<RunFigures | null> {
  const { steps, cost } = setup.size;
  const { key, critic = {}, segment = 1 } = Object.fromEntries(waysOf(setup))[name]!;
  const start = startOf(setup, seed, steps, key);
  const { credit, actor } = setup.recipe;
  // Neither lambda nor the rate changes the cost.
  const { lambda } = methods[key].settings[0]!;
  const setting = { lambda, learning_rate: actor!.learning_rate };
  const plainConfig = jointConfig(setup, seed, steps, key, setting, { iterations: cost });
  const config: Omit<ConfigInput, 'folder'> = {
    ...plainConfig,
    critic: { ...(plainConfig.critic as { readonly use: string }), ...critic },
    evaluation: { ...plainConfig.evaluation, every: 0, prompts: 8 },
    ...(segment > 1 && {
      credit: {
        ...{ ...credit, lambda },
        segmentation: {
          ...{ by: 'pattern', pattern: new Array(segment).fill('[a-l] \\d').join(' ') },
          ...{ max_segments: steps, min_tokens: 1 },
        },
      },
    }),
  };
  // The rule by which such a critic is asked has a version of its own.
  const version = 'share_of_states' in critic ? 2 : 1;
  return {
    ...{ name: 'cost', seed, version, options: config, after: start.after },
    run: (work) => trainBy(work, start, config, 'none'),
  };
}

/** Tokens of one iteration. */
export interface Tokens {
  readonly sampled: number;
  /** For values: in all, and where the beginnings that prompts share are read once. */
  readonly read: number;
  readonly shared: number;
  readonly written: number;
  /** Of the critic's update, prompts among them. */
  readonly trained: number;
}

/** @param prompt tokens that the critic reads of a state, in all and if prefixes are shared */
export function tokensOf(
  means: RunFigures['means'],
  prompt: { readonly read: number; readonly shared: number } | null,
): Tokens {
  const of = (name: string) => means[name] ?? 0;
  const sampled = of('actor/tokens');
  if (prompt === null) {
    const read = of('critic/value_tokens_read') + of('critic/actor_tokens_read');
    const trained = of('critic/tokens');
    return { sampled, read, shared: read, written: of('critic/actor_tokens'), trained };
  }
  const states = means['critic/states_asked'] ?? of('critic/states');
  const written = of('critic/tokens_written');
  const learnt = of('critic/tokens');
  const completions = of('critic/mean_length') > 0 ? learnt / of('critic/mean_length') : 0;
  // Earlier thoughts are read behind each prompt, to value and to learn.
  const carried = of('critic/tokens_carried');
  return {
    ...{ sampled, written, read: states * prompt.read + carried },
    ...{ shared: states * prompt.shared + carried },
    trained: completions * prompt.read + carried + learnt,
  };
}

/** In passes over one token: reading and writing one each, training three, as on paper. */
export const passesOf = (
  { sampled, read, shared, written, trained }: Tokens,
  whole: number,
  epochs: number,
  sharing: boolean,
): number => sampled + 3 * epochs * whole + (sharing ? shared : read) + written + 3 * trained;

function measuredBy(setup: Setup, seed: number, results: Results) {
  const { critics } = results.resultOf(criticsEvaluation(setup, seed)).distributions.none!;
  return waysOf(setup).map(([name, { prompts }]) => {
    const figures = results.resultOf(run(setup, seed, name));
    const cost = prompts && critics[prompts]!.cost!;
    const prompt = cost && {
      read: cost.read / cost.states,
      shared: cost.read_shared / cost.states,
    };
    return { name, figures, tokens: figures && tokensOf(figures.means, prompt) };
  });
}

/** Table 5: what an iteration costs, by part. */
export const cost: Table = {
  number: 5,
  title: 'Cost of an iteration, by part',
  paper: 'GenAC costs about twice what PPO does, and VinePPO more than four times.',
  notes: (setup) => [
    'Means over a few iterations of joint training by the recipe, after what each critic was ' +
      'pretrained on.',
    'Tokens that critics with words read are the prompts’ mean length, as table 3 measured it, ' +
      'times the states; with shared prefixes, what prompts begin with alike is read once.',
    'A critic that reads values or continues responses reports no sharing, and has the same figure ' +
      'twice.',
    'Passes count reading and writing a token as one and training as three; those of the actor ' +
      'are sampling and its update.',
    ...(setup.given
      ? []
      : [
          'A thought that ends where the critic is sure is read once more at each look, which is ' +
            'in the seconds and not in the tokens. This critic was not trained with such ' +
            'thoughts, so the row says what they cost and not that its scores are of use.',
          ONE_CORE,
        ]),
  ],
  reason:
    'responses here have 18 tokens and the critic writes 30 for each of their 8 states; the paper’s ' +
    'have some thousand, of which a state has many',
  parts: (setup, seed) => [
    criticsEvaluation(setup, seed),
    ...waysOf(setup).map(([name]) => run(setup, seed, name)),
  ],
  blocks(setup, seed, results) {
    const all = measuredBy(setup, seed, results);
    const ppo = all.find(({ name }) => name === 'PPO')!;
    const whole = ppo.figures?.means['critic/value_tokens_read'] ?? Number.NaN;
    const { epochs } = setup.recipe.actor!;
    const secondsOf = ({ figures }: (typeof all)[number]) => {
      const phases = figures?.phases ?? {};
      const parts = ['sample', 'reward', 'value', 'update'].map((phase) => phases[phase]);
      return [...parts, parts.reduce<number>((sum, one) => sum + (one ?? Number.NaN), 0)];
    };
    const ratio = (own: (typeof all)[number], sharing: boolean) =>
      own.tokens && ppo.tokens
        ? passesOf(own.tokens, whole, epochs, sharing) /
          passesOf(ppo.tokens, whole, epochs, sharing)
        : Number.NaN;
    const rows = (cells: (one: (typeof all)[number]) => readonly (number | undefined)[]): Row[] =>
      all.map((own) => ({ name: own.name, cells: cells(own).map((cell) => plain(cell)) }));
    return [
      {
        ...{ title: 'tokens of an iteration', digits: 0 },
        columns: [
          ...['actor samples', 'values read', 'prefixes shared', 'values written'],
          'critic’s update',
        ],
        rows: rows(({ tokens }) =>
          tokens === null
            ? new Array<undefined>(5).fill(undefined)
            : [tokens.sampled, tokens.read, tokens.shared, tokens.written, tokens.trained],
        ),
      },
      {
        ...{ title: 'seconds of an iteration', digits: 2 },
        columns: ['sample', 'reward', 'value', 'update', 'all'],
        rows: rows(secondsOf),
      },
      {
        ...{ title: 'against PPO', digits: 2 },
        columns: ['passes', 'passes, prefixes shared', 'seconds'],
        rows: rows((own) => [
          ratio(own, false),
          ratio(own, true),
          secondsOf(own).at(-1)! / secondsOf(ppo).at(-1)!,
        ]),
      },
    ];
  },
  verdict(blocks) {
    const against = blocks.at(-1)!;
    const [genac, vine] = ['GenAC, one, expected score', 'VinePPO'].map((name) => ({
      passes: valueIn(against, name, 1),
      seconds: valueIn(against, name, 2),
    }));
    const two = valueIn(against, 'GenAC, two completions', 1);
    const known = [genac!.passes, vine!.passes].every((one) => Number.isFinite(one));
    return {
      seen:
        `against PPO GenAC costs ${genac!.passes.toFixed(1)} times the passes and ` +
        `${genac!.seconds.toFixed(1)} times the seconds with one completion of a state, ` +
        `${two.toFixed(1)} times the passes with two; VinePPO ${vine!.passes.toFixed(1)} times the ` +
        `passes and ${vine!.seconds.toFixed(1)} times the seconds`,
      agrees: !known
        ? null
        : genac!.passes < 3 && vine!.passes > 4
          ? 'yes'
          : vine!.passes > 4
            ? 'in part'
            : 'no',
    };
  },
};
