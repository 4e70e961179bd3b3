/**
 * Several critics as one. `mean`: all of them value each state, and the value is their mean.
 * `cascade`: the first one values all states, and the others only those at which its value changed
 * most, because there the credit is decided. What came after a state has no say in that.
 */
import { z } from 'zod';
import {
  type CreatedCritic,
  type Critic,
  type CriticCompletion,
  type CriticContext,
  type CriticEnvironment,
  defineCritic,
  mean,
  type Outcome,
  type State,
  type UpdateMetrics,
  UserError,
  type Valuation,
  valuesOf,
} from '../../src/plugin-api.ts';
import { mostChanged } from './ensemble/changed.ts';
import { inherited } from './few-states/few-states.ts';
import { blindDraw, inRounds, LastOfResponse } from './few-states/rounds.ts';

const SHARE = 0.25;

const options = z
  .strictObject({
    /** Each as a config names it: `[{use: value-head, model: ...}, {use: generative, ...}]`. */
    critics: z
      .array(z.union([z.string(), z.looseObject({ use: z.string().min(1) })]))
      .min(2)
      .max(8),
    by: z.enum(['mean', 'cascade']).default('mean'),
    /** By cascade: the share of the states that the further critics value, in (0, 1]. */
    share: z.number().positive().max(1).default(SHARE),
  })
  .refine((o) => o.by === 'cascade' || o.share === SHARE, {
    path: ['share'],
    message: 'has no effect with `by: mean`, where every critic values all states',
  });

type Options = z.infer<typeof options>;

export default defineCritic({
  name: 'ensemble',
  needs: 'states',
  learns: true,
  wholeBatches: true,
  options,
  create,
  parts: ({ critics }) => critics,
});

/** A member's estimate; null: it was not asked about the state. */
type Estimates = readonly (Valuation | null)[];

async function create(o: Options, environment: CriticEnvironment): Promise<CreatedCritic> {
  const members: Critic[] = [];
  for (const [i, choice] of o.critics.entries())
    members.push(await environment.critic(nameOf(i), choice));
  const other = members.find(({ needs }) => needs !== 'states');
  if (other)
    throw new UserError(
      `the critic "ensemble" can't have the part "${other.name}": its values come from the rewards ` +
        'of the group, and the others value states',
    );
  /** What each member said of a state; each learns from its own words. */
  const estimates = new WeakMap<Valuation, Estimates>();

  const ask = async (i: number, states: readonly State[], context: CriticContext) => {
    const { report, ...rest } = context;
    return valuesOf(members[i]!, states, {
      ...rest,
      purpose: `${context.purpose}/${nameOf(i)}`,
      ...(report && { report: (metrics) => report(prefixed(i, metrics)) }),
    });
  };
  /** The member's estimates of the chosen states; null at the others. */
  const askAbout = async (
    i: number,
    states: readonly State[],
    chosen: readonly number[],
    context: CriticContext,
  ): Promise<Estimates> => {
    const found: (Valuation | null)[] = states.map(() => null);
    const values = await ask(
      i,
      chosen.map((s) => states[s]!),
      context,
    );
    chosen.forEach((s, k) => {
      found[s] = values[k]!;
    });
    return found;
  };

  return {
    sharesFirstState: members.every(({ sharesFirstState }) => sharesFirstState),

    async value(states, context) {
      const all = [...states.keys()];
      const first = await ask(0, states, context);
      const chosen =
        o.by === 'mean'
          ? all
          : mostChanged(states, first, o.share, blindDraw(environment.seed, context));
      const others: Estimates[] = [];
      for (let i = 1; i < members.length; i++)
        others.push(await askAbout(i, states, chosen, context));
      if (o.by === 'cascade') context.report?.({ states_of_further_critics: chosen.length });
      const values: Valuation[] = [];
      const last = new LastOfResponse(states);
      for (const s of inRounds(states).flat()) {
        const before = last.before(s);
        last.note(s);
        const own = [first[s]!, ...others.map((one) => one[s]!)];
        // By cascade a further critic's word about this state replaces the first one's.
        const said = own.filter(
          (one, i) => one?.parsed === 'ok' && (o.by === 'mean' || i === 0 || !one.inherited),
        );
        const further = o.by === 'cascade' ? said.filter((one) => one !== own[0]) : [];
        const used = further.length > 0 ? further : said;
        const isAsked = before === null || own.some((one) => one !== null && !one.inherited);
        const valuation: Valuation = isAsked
          ? {
              value: used.length > 0 ? mean(used.map(({ value }) => value)) : first[s]!.value,
              rationale: used.find(({ rationale }) => rationale !== '')?.rationale ?? '',
              parsed: used.length > 0 ? 'ok' : 'malformed',
              completions: own.flatMap((one, i) => completionsOf(one, i)),
            }
          : inherited(values[before]!);
        values[s] = valuation;
        estimates.set(valuation, own);
      }
      return values;
    },

    async learn(outcomes, update) {
      const metrics: Record<string, number> = {};
      for (const [i, member] of members.entries()) {
        const own = outcomes.flatMap((outcome): Outcome[] => {
          const valuation = estimates.get(outcome.valuation)?.[i];
          return valuation ? [{ ...outcome, valuation }] : [];
        });
        if (!member.learn || own.length === 0) continue;
        Object.assign(metrics, prefixed(i, await member.learn(own, update)));
      }
      return metrics;
    },

    save: async (folder, optimizer) => {
      for (const [i, member] of members.entries())
        await member.save?.(`${folder}/${nameOf(i)}`, optimizer);
    },
    load: async (folder) => {
      for (const [i, member] of members.entries()) await member.load?.(`${folder}/${nameOf(i)}`);
    },
    async restore(folder) {
      for (const [i, member] of members.entries()) {
        const own = `${folder}/${nameOf(i)}`;
        if (member.restore) await member.restore(own);
        else await member.load?.(own);
      }
    },
    async close() {
      for (const member of members) await member.close?.();
    },
  };
}

const nameOf = (i: number) => `part-${i}`;

/** Two parts may have the same prompts, and each reads its own. */
const completionsOf = (estimate: Valuation | null, i: number): CriticCompletion[] =>
  (estimate?.completions ?? []).map((one) => ({
    ...one,
    part: one.part === undefined ? nameOf(i) : `${nameOf(i)}/${one.part}`,
  }));

const prefixed = (i: number, metrics: UpdateMetrics): UpdateMetrics =>
  Object.fromEntries(
    Object.entries(metrics).map(([name, value]) => [`${nameOf(i)}/${name}`, value]),
  );
