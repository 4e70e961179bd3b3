/**
 * The paper's critic (GenAC, arXiv 2604.10701): a language model that reads the problem and the
 * partial response, reasons in words, and ends with an integer score 0..10. It learns by imitation
 * of an oracle, then by REINFORCE with reward 1 - (r - v)^2.
 */
import { z } from 'zod';
import {
  type CreatedCritic,
  type CriticBaseline,
  type CriticEnvironment,
  criticBaselines,
  defineCritic,
  importanceSampling,
  loadingFields,
  loadingOf,
  loraSchema,
  mapYielding,
  mean,
  type OracleTrace,
  optimizerSchema,
  plainRationale,
  type Sequence,
  type Sliceable,
  type State,
  temperature,
  type UpdateOptions,
  writeTrace,
} from '../../src/plugin-api.ts';
import { refuseShortContext } from './generative/asking.ts';
import { batchOf } from './generative/batch.ts';
import { corrected } from './generative/correction.ts';
import { needsWholeBatches, reserveOf, valueStates } from './generative/valuing.ts';

const LOOK_EVERY = 64;
const MAX_NEW_TOKENS = 1024;

/** Options of a critic that is a language model and writes scores. */
export const scorerFields = {
  /** Folder in Hugging Face format, Hub name, or `task:NAME` for a model that the task makes. */
  model: z.string().min(1),
  worker: z.string().default('critic'),
  dtype: z.enum(['auto', 'float32', 'bfloat16']).default('auto'),
  ...loadingFields,
  lora: loraSchema.nullable().default(null),
  optimizer: optimizerSchema.prefault({ betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0 }),
  /** In-Context Conditioning: the prompt has the actor's profile. */
  icc: z.boolean().default(true),
  /** Reason in words before the score. */
  thinking: z.boolean().default(true),
  /**
   * What it thinks about a state goes on from what it thought about the state before, up to the
   * last place where that has this text; null: each thought begins afresh.
   */
  carry_until: z.string().min(1).nullable().default(null),
  completions_per_state: z.int().positive().max(10_000).default(1),
  /**
   * The share of the states behind each first one that it is asked about, in (0, 1]. The others
   * inherit the value of the last one before them.
   */
  share_of_states: z.number().positive().max(1).default(1),
  /**
   * Two completions of a state are drawn, and the others only where one of these has no valid score
   * or their scores differ by more than this; null: all are drawn.
   */
  agree_within: z.int().min(0).max(10).nullable().default(null),
  /**
   * The value of a completion: the `expected` score, the mean over the eleven scores' probabilities
   * at its place, or the score that was `sampled`.
   */
  read: z.enum(['expected', 'sampled']).default('expected'),
  /**
   * `free`: the critic writes the score itself, or none. `forced`: where its thinking ended, or
   * its budget is spent, the tag is opened for it and an integer is drawn among the eleven.
   */
  answer: z.enum(['free', 'forced']).default('free'),
  /**
   * Thinking ends before `max_new_tokens` where the critic is sure: where the standard deviation of
   * the score, by its probabilities at a tag that is opened there, is at most this. It is looked at
   * every `look_every` tokens. With `answer: forced` alone. null: thinking ends by itself.
   */
  sure_within: z.number().min(0).max(0.5).nullable().default(null),
  look_every: z.int().positive().default(LOOK_EVERY),
  temperature: temperature.default(1),
  /** Of a completion; with `answer: forced`, of the words before the score. */
  max_new_tokens: z.int().positive().default(MAX_NEW_TOKENS),
  /** REINFORCE's baseline; `none` is the paper's. */
  baseline: z.enum(criticBaselines).default('none'),
  /** Of REINFORCE: corrects for the engine that samples; null: it does not. */
  importance_sampling: importanceSampling.nullable().default(null),
  /**
   * Fallback value of a state without a valid score: a number, or
   * the actor's smoothed success rate (0.5 until it is known).
   */
  malformed_value: z
    .union([z.literal('success-rate'), z.number().min(0).max(1)])
    .default('success-rate'),
};

export const enoughCompletions = (o: { baseline: CriticBaseline; completions_per_state: number }) =>
  o.baseline !== 'leave-one-out' || o.completions_per_state > 1;

export const tooFew = {
  path: ['completions_per_state'],
  message: 'the baseline "leave-one-out" needs at least 2 completions per state',
};

export const mayStop = (o: { agree_within: number | null; completions_per_state: number }) =>
  o.agree_within === null || o.completions_per_state > 2;

export const neverStops = {
  path: ['agree_within'],
  message:
    'has no effect, for two completions are always drawn: give completions_per_state 3 or more',
};

/** Does an engine draw tokens, whose log-probabilities can be corrected? */
export const engineDraws = (o: {
  importance_sampling: object | null;
  answer: 'free' | 'forced';
  thinking?: boolean;
}) => o.importance_sampling === null || o.answer === 'free' || o.thinking === true;

export const nothingDrawn = {
  path: ['importance_sampling'],
  message: 'has no effect: a forced score without thoughts is drawn by the trained weights',
};

const options = z
  .strictObject(scorerFields)
  .refine((o) => o.sure_within === null || (o.thinking && o.answer === 'forced'), {
    path: ['sure_within'],
    message: 'needs `answer: forced` and `thinking: true`: the tag is opened where it is sure',
  })
  .refine((o) => o.sure_within === null || o.look_every < o.max_new_tokens, {
    path: ['look_every'],
    message: 'must be less than max_new_tokens, or no thought is ever looked at',
  })
  .refine((o) => o.sure_within !== null || o.look_every === LOOK_EVERY, {
    path: ['look_every'],
    message: 'has no effect without `sure_within`: no thought is looked at',
  })
  .refine(engineDraws, nothingDrawn)
  .refine((o) => o.thinking || o.carry_until === null, {
    path: ['carry_until'],
    message: 'has no effect with `thinking: false`, where there are no thoughts',
  })
  .refine(enoughCompletions, tooFew)
  .refine(mayStop, neverStops);

type Options = z.infer<typeof options>;

const neverLooks = { sure_within: null, look_every: LOOK_EVERY } as const;

export default defineCritic({
  name: 'generative',
  needs: 'states',
  learns: true,
  imitates: true,
  options,
  create,
  models: ({ model, worker }) => [{ model, worker }],
  startFrom: (given, model) => ({ ...given, model }),
  standalone: (given, model, { thinking, maxNewTokens, completions, temperature }) => {
    const own: Record<string, unknown> = {
      ...given,
      ...{ model, baseline: 'none', completions_per_state: completions, share_of_states: 1 },
      importance_sampling: null, // nothing is learned
      ...(completions < 3 && { agree_within: null }),
      ...(thinking !== undefined && { thinking }),
      ...(maxNewTokens !== undefined && { max_new_tokens: maxNewTokens }),
      ...(temperature !== undefined && { temperature }),
    };
    const thinks = own.thinking !== false;
    const { look_every = LOOK_EVERY, max_new_tokens = MAX_NEW_TOKENS } = own;
    const looks = thinks && own.answer === 'forced' && Number(look_every) < Number(max_new_tokens);
    return { ...own, ...(!thinks && { carry_until: null }), ...(!looks && neverLooks) };
  },
});

async function create(given: Options, environment: CriticEnvironment): Promise<CreatedCritic> {
  const { seed, format, loadModel } = environment;
  let o = given;
  const { worker, dtype, lora, optimizer } = o;
  const how = { worker, dtype, loading: loadingOf(o), lora, optimizer };
  let model = await loadModel('critic', { model: o.model, ...how });
  refuseShortContext(model, o.max_new_tokens + reserveOf(o));
  const promptOf = (state: State) => format.prompt(state, o.icc ? state.actor : null, o.thinking);
  let toldOfLength = false;

  const tokenizeTraces = async (traces: readonly OracleTrace[]) =>
    model.tokenize(
      await mapYielding(traces, ({ state }) => promptOf(state)),
      await mapYielding(traces, ({ rationale, score, state }) =>
        writeTrace(o.thinking ? rationale : '', score, format, o.icc ? state.actor : null),
      ),
      format.appendEos,
      true,
    );

  return {
    sharesFirstState: true,
    prompt: (state) => promptOf(state),

    get wholeBatches() {
      return needsWholeBatches(o);
    },

    value: (states, context) =>
      valueStates(
        { model, format, seed, promptOf, options: o, log: environment.log },
        states,
        context,
      ),

    async learn(outcomes, update) {
      const batch = await batchOf(outcomes, o.baseline, o.agree_within !== null);
      if (batch === null) return skipped(update);
      const { completions, masks, tokens, reward, parseRate } = batch;
      const reported = { reward, parse_rate: parseRate, mean_length: tokens / completions.length };
      // All completions are worth the same (or none is worth anything): there is nothing to learn.
      if (batch.weights.every((weight) => weight === 0)) return { ...skipped(update), ...reported };
      const { weights, metrics } =
        o.importance_sampling === null
          ? { weights: batch.weights, metrics: {} }
          : await corrected(model, batch, o.importance_sampling, o.temperature);
      const statistics = await gradientStep(
        completions,
        weights,
        masks,
        tokens,
        o.temperature,
        update,
      );
      return { ...statistics, ...metrics, ...reported };
    },

    async imitate(traces, update) {
      const sequences = await tokenizeTraces(traces);
      if (!toldOfLength) toldOfLength = warnOfLong(sequences, o, environment.log);
      const weights = sequences.map(() => 1);
      const tokens = sequences.reduce((sum, s) => sum + s.completionIds.length, 0);
      return gradientStep(sequences, weights, null, tokens, 1, update);
    },

    async rationaleLoss(traces) {
      const sequences = await model.tokenize(
        await mapYielding(traces, ({ state }) => promptOf(state)),
        await mapYielding(traces, ({ rationale }) => plainRationale(rationale, format)),
        false,
        true,
      );
      return -mean((await model.logprobs(sequences)).flatMap((perToken) => Array.from(perToken)));
    },

    save: (folder, optimizer) => model.save(folder, optimizer),
    async load(folder) {
      model = await loadModel('critic', { model: folder, ...how });
    },
    restore: (folder) => model.restore(folder),
    configure(next) {
      // Those of a critic without words lack the options of words, which stay as they were.
      o = { ...o, ...(next as Options) };
    },
  };

  /** One step on sum(weight x -log p) / tokens, then serves the new weights. */
  async function gradientStep(
    sequences: Sliceable<Sequence>,
    weights: readonly (number | Float32Array)[],
    masks: readonly (Uint8Array | null)[] | null,
    tokens: number,
    temperature: number,
    update: UpdateOptions,
  ) {
    const stream = { stream: { kind: 'ce', coefficient: 1 } as const, tensors: { weights } };
    const statistics = await model.accumulate(sequences, masks, [stream], tokens, temperature);
    const step = await model.optimize(update.learningRate, update.maxGradNorm);
    await model.publish();
    return {
      loss: statistics.loss ?? Number.NaN,
      tokens,
      grad_norm: step.grad_norm,
      update_norm: step.update_norm,
      learning_rate: update.learningRate,
    };
  }
}

/** Says what is taught and can't be written. @returns whether there is any */
function warnOfLong(traces: readonly Sequence[], o: Options, log: CriticEnvironment['log']) {
  const lengths = traces.map(({ completionIds }) => completionIds.length);
  const long = lengths.filter((length) => length > o.max_new_tokens);
  if (long.length === 0 || o.answer === 'forced') return false;
  log(
    `${long.length} of ${lengths.length} traces of stage 1 are longer than critic.max_new_tokens ` +
      `(${o.max_new_tokens}; the longest has ${Math.max(...long)} tokens): a critic that writes ` +
      'as they do ends before its score. Raise it, or set critic.answer: forced',
  );
  return true;
}

/** Numbers of an update that had nothing to learn from, under the names of one that had. */
const skipped = ({ learningRate }: UpdateOptions) => ({
  loss: 0,
  tokens: 0,
  grad_norm: 0,
  update_norm: 0,
  learning_rate: learningRate,
  skipped_steps: 1,
});
