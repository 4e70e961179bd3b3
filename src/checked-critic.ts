/**
 * Critics held to their contract. A critic never sees a reference column, it samples from the actor
 * while it values states and at no other time, and what it returns is checked: an error names it.
 */
import type {
  Continuations,
  CreatedCritic,
  Critic,
  CriticContext,
  CriticEnvironment,
  CriticPlugin,
  UpdateMetrics,
} from './critic.ts';
import { forEachYielding, mapYielding } from './event-loop.ts';
import type { OracleTrace } from './task.ts';
import { blindProblem } from './text/blind-problem.ts';
import { safeFormat } from './text/critic-prompt.ts';
import type { State, Valuation } from './types.ts';
import { UserError } from './user-error.ts';

/** Makes a critic. Its format sees others' text without tags. */
export async function createCritic(
  plugin: CriticPlugin,
  options: unknown,
  environment: CriticEnvironment,
): Promise<Critic> {
  const { name } = plugin;
  if (plugin.continues && environment.actor === null)
    throw new UserError(
      `the critic "${name}" lets the actor continue responses, and there is no actor ` +
        'here that can',
    );
  const asked = { values: 0 };
  const critic = await plugin.create(options, {
    ...environment,
    format: safeFormat(environment.format),
    actor: environment.actor && whileValuing(name, environment.actor, asked),
  });
  refuseOtherTraits(plugin, critic);
  const { learn, imitate, rationaleLoss, save, load, prompt, restore, configure, close } = critic;
  return {
    name,
    needs: plugin.needs,
    get wholeBatches() {
      return critic.wholeBatches ?? plugin.wholeBatches ?? false;
    },
    continues: plugin.continues ?? false,
    sharesFirstState: critic.sharesFirstState,
    async value(states, { report, ...context }) {
      asked.values++;
      try {
        return await critic.value(await mapYielding(states, blindState), {
          ...context,
          ...(report && { report: (metrics) => report(checkedMetrics(name, 'reported', metrics)) }),
        });
      } finally {
        asked.values--;
      }
    },
    ...(learn && {
      learn: async (outcomes, update) => {
        const blind = await mapYielding(outcomes, (outcome) => blindPart(outcome));
        const what = `failed to learn from ${outcomes.length} outcomes`;
        const metrics = await named(name, what, () => learn.call(critic, blind, update));
        return checkedMetrics(name, 'learn() gave', metrics);
      },
    }),
    ...(imitate && {
      imitate: async (traces, update) => {
        const what = `failed to imitate ${traces.length} traces`;
        const blind = traces.map(blindPart);
        const metrics = await named(name, what, () => imitate.call(critic, blind, update));
        return checkedMetrics(name, 'imitate() gave', metrics);
      },
    }),
    ...(rationaleLoss && {
      rationaleLoss: (traces: readonly OracleTrace[]) =>
        rationaleLoss.call(critic, traces.map(blindPart)),
    }),
    ...(prompt && { prompt: (state: State) => prompt.call(critic, blindState(state)) }),
    ...(save && { save: save.bind(critic) }),
    ...(load && { load: load.bind(critic) }),
    ...(restore && { restore: restore.bind(critic) }),
    ...(configure && { configure: configure.bind(critic) }),
    ...(close && { close: close.bind(critic) }),
  };
}

/** What the weights are at another time depends on the schedule. */
function whileValuing(
  name: string,
  actor: Continuations,
  asked: { readonly values: number },
): Continuations {
  const refuseElsewhere = (what: string) => {
    if (asked.values === 0)
      throw new UserError(`critic "${name}": actor.${what} works within value() only`);
  };
  const { exactValues } = actor;
  return {
    exactValues:
      exactValues &&
      (async (states) => {
        refuseElsewhere('exactValues');
        return exactValues(states);
      }),
    async sample(states, count, context) {
      refuseElsewhere('sample');
      if (!Number.isInteger(count) || count < 1)
        throw new UserError(
          `critic "${name}": actor.sample was asked for ${count} continuations of each state; ` +
            'the number is an integer of at least 1',
        );
      return actor.sample(states, count, context);
    },
  };
}

/** Runs a method of the critic; its error names the critic. */
async function named<R>(name: string, what: string, work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    if ((error as Error | null)?.name === 'BridgeError') throw error; // it names the worker
    const said = error instanceof Error ? error.message : String(error);
    throw new UserError(`critic "${name}" ${what}: ${said}`, { cause: error });
  }
}

function checkedMetrics(name: string, what: string, metrics: unknown): UpdateMetrics {
  const fault = (said: string) =>
    new UserError(`critic "${name}": ${what} ${said}; metrics are names with a number each`);
  if (typeof metrics !== 'object' || metrics === null || Array.isArray(metrics))
    throw fault(String(metrics));
  for (const [metric, value] of Object.entries(metrics))
    if (typeof value !== 'number') throw fault(`${JSON.stringify(value)} for "${metric}"`);
  return metrics as UpdateMetrics;
}

/** What a config was checked by must be what the critic is. */
function refuseOtherTraits(plugin: CriticPlugin, critic: CreatedCritic): void {
  for (const [trait, method] of [
    ['learns', 'learn'],
    ['imitates', 'imitate'],
  ] as const) {
    const [says, has] = [plugin[trait] ?? false, critic[method] !== undefined];
    if (says === has) continue;
    throw new UserError(
      `critic "${plugin.name}" ${has ? 'has' : 'has no'} ${method}(), and its plugin says ` +
        `${trait}: ${says}: make them agree`,
    );
  }
}

const blindStates = new WeakMap<State, State>();

/** The same object for the same state, so that a critic may remember states. */
function blindState(state: State): State {
  const problem = blindProblem(state.problem);
  if (problem === state.problem) return state;
  const known = blindStates.get(state) ?? { ...state, problem };
  blindStates.set(state, known);
  return known;
}

function blindPart<T extends { readonly state: State }>(part: T): T {
  const state = blindState(part.state);
  return state === part.state ? part : { ...part, state };
}

/** Valuations of a critic, checked: one for each state, with a value in [0, 1]. */
export async function valuesOf(
  critic: Critic,
  states: readonly State[],
  context: CriticContext,
): Promise<Valuation[]> {
  if (states.length === 0) return [];
  const { name } = critic;
  const valuations: unknown = await named(name, `failed to value ${states.length} states`, () =>
    critic.value(states, context),
  );
  if (!Array.isArray(valuations))
    throw new UserError(
      `critic "${name}" gave ${valuations === null ? 'null' : typeof valuations} instead of a ` +
        'list of valuations',
    );
  if (valuations.length !== states.length)
    throw new UserError(
      `critic "${name}" gave ${valuations.length} valuations for ${states.length} states`,
    );
  await forEachYielding(valuations as Partial<Valuation>[], (valuation, i) => {
    const fault = faultOf(valuation);
    if (fault)
      throw new UserError(
        `critic "${name}" gave ${fault[0]} for state ${states[i]!.id}: ${fault[1]}`,
      );
  });
  return valuations as Valuation[];
}

/** What a valuation breaks, and the rule that it breaks; null: nothing. */
function faultOf(valuation: Partial<Valuation> | null | undefined): [string, string] | null {
  const said = (value: unknown) => (typeof value === 'string' ? JSON.stringify(value) : `${value}`);
  if (typeof valuation !== 'object' || valuation === null)
    return [said(valuation), 'a valuation is an object'];
  const { value, parsed, rationale, completions } = valuation;
  if (typeof value !== 'number' || !(value >= 0 && value <= 1))
    return [`the value ${said(value)}`, 'a value is a number in [0, 1]'];
  if (parsed !== 'ok' && parsed !== 'malformed')
    return [`parsed: ${said(parsed)}`, "it is 'ok' or 'malformed'"];
  if (typeof rationale !== 'string')
    return [`the rationale ${said(rationale)}`, 'a rationale is a text, which may be empty'];
  if (!Array.isArray(completions))
    return [`the completions ${said(completions)}`, 'they are a list, which may be empty'];
  return null;
}
