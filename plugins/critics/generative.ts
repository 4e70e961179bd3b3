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
  mapInParts,
  mapYielding,
  mean,
  type OracleTrace,
  optimizerSchema,
  plainRationale,
  promptsOfRequest,
  type Sequence,
  type Sliceable,
  type State,
  temperature,
  type UpdateOptions,
  type Valuation,
  writeTrace,
} from '../../src/plugin-api.ts';
import { answersTo, choosesScores } from './generative/answers.ts';
import { eachReadable, Refusals, refuseShortContext, whichFit } from './generative/asking.ts';
import { batchOf } from './generative/batch.ts';
import { corrected } from './generative/correction.ts';

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
  completions_per_state: z.int().positive().max(10_000).default(1),
  /**
   * Two completions of a state are drawn, and the others only where one of these has no valid score
   * or their scores differ by more than this; null: all are drawn.
   */
  agree_within: z.int().min(0).max(10).nullable().default(null),
  /**
   * The value of a completion: the score that was `sampled`, or the `expected` one, the mean over
   * the eleven scores' probabilities at its place.
   */
  read: z.enum(['sampled', 'expected']).default('sampled'),
  /**
   * `free`: the critic writes the score itself, or none. `forced`: where its thinking ended, or
   * its budget is spent, the tag is opened for it and an integer is drawn among the eleven.
   */
  answer: z.enum(['free', 'forced']).default('free'),
  temperature: temperature.default(1),
  /** Of a completion; with `answer: forced`, of the words before the score. */
  max_new_tokens: z.int().positive().default(1024),
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

const options = z
  .strictObject(scorerFields)
  .refine(enoughCompletions, tooFew)
  .refine(mayStop, neverStops);

type Options = z.infer<typeof options>;

export default defineCritic({
  name: 'generative',
  needs: 'states',
  learns: true,
  imitates: true,
  options,
  create,
  models: ({ model, worker }) => [{ model, worker }],
  startFrom: (given, model) => ({ ...given, model }),
  standalone: (given, model, { thinking, maxNewTokens, completions, temperature }) => ({
    ...given,
    ...{ model, baseline: 'none', completions_per_state: completions },
    ...(completions < 3 && { agree_within: null }),
    ...(thinking !== undefined && { thinking }),
    ...(maxNewTokens !== undefined && { max_new_tokens: maxNewTokens }),
    ...(temperature !== undefined && { temperature }),
  }),
});

async function create(given: Options, environment: CriticEnvironment): Promise<CreatedCritic> {
  const { seed, format, loadModel } = environment;
  let o = given;
  const { worker, dtype, lora, optimizer } = o;
  const how = { worker, dtype, loading: loadingOf(o), lora, optimizer };
  let model = await loadModel('critic', { model: o.model, ...how });
  refuseShortContext(model, o.max_new_tokens + reserveOf(o));
  const promptOf = (state: State) => format.prompt(state, o.icc ? state.actor : null, o.thinking);

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

    wholeBatches: choosesScores(o),

    async value(states, context) {
      const perState = context.greedy ? 1 : o.completions_per_state;
      const refusals = new Refusals();
      // Each part frees its prompts, and all of its samples but ids and text, once it is valued.
      const valuations = await mapInParts(
        states,
        promptsOfRequest(perState),
        async (some, from) => {
          const prompts = await mapYielding(some, promptOf);
          const fits = await whichFit(model, prompts, o.max_new_tokens + reserveOf(o));
          const asked = some.flatMap((state, i) =>
            fits[i] ? [{ state, prompt: prompts[i]!, standIn: standIn(state) }] : [],
          );
          const asking = { model, format, seed, options: o, perState, context };
          const answers = await eachReadable(asked, refusals, (readable) =>
            answersTo(asking, readable, from === 0 ? states.length : null),
          );
          let next = 0;
          return mapYielding(some, (state, i) => {
            if (!fits[i]) return unasked(state, 'too-long');
            return answers[next++] ?? unasked(state, 'refused');
          });
        },
      );
      refusals.throwIfAll();
      return valuations;
    },

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
      o = next as Options;
    },
  };

  function standIn({ actor }: State): number {
    return o.malformed_value === 'success-rate' ? (actor.successRate ?? 0.5) : o.malformed_value;
  }

  function unasked(state: State, skipped: NonNullable<Valuation['skipped']>): Valuation {
    return { value: standIn(state), rationale: '', parsed: 'malformed', completions: [], skipped };
  }

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

/** Tokens of a tag that is opened for the critic, and of its score. */
const reserveOf = ({ answer }: Options) => (answer === 'forced' ? 16 : 0);

/** Numbers of an update that had nothing to learn from, under the names of one that had. */
const skipped = ({ learningRate }: UpdateOptions) => ({
  loss: 0,
  tokens: 0,
  grad_norm: 0,
  update_norm: 0,
  learning_rate: learningRate,
  skipped_steps: 1,
});
