/** Values states: which ones the model is asked about, in which order, and fallback values. */
import {
  type CriticContext,
  mapInParts,
  mapYielding,
  type Prompt,
  promptsOfRequest,
  type State,
  type Valuation,
} from '../../../src/plugin-api.ts';
import { valueFew } from '../few-states/few-states.ts';
import { blindDraw, inRounds } from '../few-states/rounds.ts';
import { type Asking, type AskingOptions, answersTo, tokensOf } from './answers.ts';
import { eachReadable, Refusals, whichFit } from './asking.ts';
import { Thoughts } from './carrying.ts';
import { mostTokens } from './score-tokens.ts';

export interface ValuingOptions extends AskingOptions {
  readonly carry_until: string | null;
  readonly share_of_states: number;
  readonly completions_per_state: number;
  readonly malformed_value: 'success-rate' | number;
}

export interface Valuing extends Pick<Asking, 'model' | 'format' | 'seed' | 'log'> {
  readonly options: ValuingOptions;
  readonly promptOf: (state: State) => Prompt;
}

/** Are all states of a response needed, to choose few of them, or to go on from one to the next? */
export const needsWholeBatches = ({ share_of_states, carry_until }: ValuingOptions): boolean =>
  share_of_states < 1 || carry_until !== null;

/** One valuation for each state, in order. @throws what the worker said, where it refused all */
export async function valueStates(
  valuing: Valuing,
  states: readonly State[],
  context: CriticContext,
): Promise<Valuation[]> {
  const { seed, format, options } = valuing;
  const draw = blindDraw(seed, context);
  const refusals = new Refusals();
  const thoughts = options.carry_until === null ? null : new Thoughts(options.carry_until, format);
  let asked = 0;
  const valuations = await valueFew(states, options.share_of_states, draw, async (some) => {
    asked += some.length;
    if (thoughts === null) return valueThese(valuing, some, context, null, refusals);
    const found: Valuation[] = [];
    for (const round of inRounds(some)) {
      const now = round.map((s) => some[s]!);
      const own = await valueThese(valuing, now, context, thoughts, refusals);
      for (const [k, s] of round.entries()) {
        found[s] = own[k]!;
        thoughts.remember(now[k]!, own[k]!);
      }
    }
    return found;
  });
  refusals.throwIfAll();
  if (options.share_of_states < 1) context.report?.({ states_asked: asked });
  return valuations;
}

async function valueThese(
  { model, format, seed, log, options, promptOf }: Valuing,
  states: readonly State[],
  context: CriticContext,
  thoughts: Thoughts | null,
  refusals: Refusals,
): Promise<Valuation[]> {
  const perState = context.greedy ? 1 : options.completions_per_state;
  const asking = { model, format, seed, options, perState, context, log };
  const tokens = options.answer === 'forced' ? await tokensOf(asking) : null;
  const reserve = Math.max(reserveOf(options), tokens === null ? 0 : mostTokens(tokens));
  const room = options.max_new_tokens + reserve;
  // Each part frees its prompts, and all of its samples but ids and text, once it is valued.
  return mapInParts(states, promptsOfRequest(perState), async (some, from) => {
    const prompts = await mapYielding(some, promptOf);
    const fits = await whichFit(model, prompts, room);
    const asked = some.flatMap((state, i) => {
      if (!fits[i]) return [];
      const carried = thoughts?.before(state) ?? null;
      return [{ state, prompt: prompts[i]!, standIn: standIn(options, state), carried }];
    });
    const answers = await eachReadable(asked, refusals, (readable) =>
      answersTo(asking, readable, from === 0 ? states.length : null),
    );
    let next = 0;
    return mapYielding(some, (state, i) => {
      if (!fits[i]) return unasked(options, state, 'too-long');
      return answers[next++] ?? unasked(options, state, 'refused');
    });
  });
}

/** Tokens of most tags that are opened for the critic, and of their scores. */
export const reserveOf = ({ answer }: Pick<AskingOptions, 'answer'>): number =>
  answer === 'forced' ? 16 : 0;

type StandIn = Pick<ValuingOptions, 'malformed_value'>;

/** The fallback value. */
const standIn = ({ malformed_value }: StandIn, { actor }: State): number =>
  malformed_value === 'success-rate' ? (actor.successRate ?? 0.5) : malformed_value;

const unasked = (
  options: StandIn,
  state: State,
  skipped: NonNullable<Valuation['skipped']>,
): Valuation => ({
  ...{ value: standIn(options, state), rationale: '', parsed: 'malformed' },
  ...{ completions: [], skipped },
});
