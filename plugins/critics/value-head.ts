/**
 * PPO's critic (Schulman 2017): a language model's backbone with a linear head, whose number at the
 * last token of a state is the value. It learns by regression on lambda-returns of its own lambda
 * (decoupled GAE; VC-PPO, arXiv 2503.01491), with PPO's value clipping.
 */
import { z } from 'zod';
import {
  type CreatedCritic,
  type CriticEnvironment,
  defineCritic,
  type LanguageModel,
  loadingFields,
  loadingOf,
  loraSchema,
  mean,
  type Outcome,
  optimizerSchema,
  type Sequence,
  type State,
  UserError,
} from '../../src/plugin-api.ts';
import { readInstead } from './value-head/positions.ts';
import { groupedByResponse, type Reading } from './value-head/reading.ts';
import { lambdaReturns } from './value-head/returns.ts';

// A value model samples nothing.
const { engine: _, ...valueFields } = loadingFields;

const fields = z.strictObject({
  /**
   * Folder in Hugging Face format, Hub name, or `task:NAME`: a model with the actor's tokenizer,
   * such as the actor's own.
   */
  model: z.string().min(1),
  worker: z.string().default('critic'),
  dtype: z.enum(['auto', 'float32', 'bfloat16']).default('auto'),
  ...valueFields,
  lora: loraSchema.nullable().default(null),
  optimizer: optimizerSchema.prefault({ betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0 }),
  /** The value is the head's sigmoid, in (0, 1), instead of the head's number, cut to [0, 1]. */
  bounded: z.boolean().default(false),
  /**
   * The head gives the probabilities of so many values from 0 to 1, trained by cross-entropy with a
   * Gaussian around the return (HL-Gauss), and the value is their mean; null: one number.
   */
  categorical: z.int().min(2).max(1001).nullable().default(null),
  /** Of the returns that it learns, in [0, 1]; 1: the rewards themselves. */
  lambda: z.number().min(0).max(1).default(1),
  /**
   * Shares of a response's states at which it is trained and read; others have the value of the
   * last such one before them, or of s_0 (sparse positions, SP3O); null: all states.
   */
  positions: z.array(z.number().positive().lt(1)).min(1).max(64).nullable().default(null),
  /** Largest change of a value in one update that its loss rewards (PPO); null: no clipping. */
  clip: z.number().positive().nullable().default(null),
});

const options = fields
  .refine(({ bounded, categorical }) => !bounded || categorical === null, {
    path: ['bounded'],
    message: 'a categorical head is within [0, 1] already: leave one of them out',
  })
  .refine(({ clip, categorical }) => clip === null || categorical === null, {
    path: ['clip'],
    message: 'clips a squared error, and a categorical head has none: leave one of them out',
  });

type Options = z.infer<typeof options>;

export default defineCritic({
  name: 'value-head',
  needs: 'states',
  wholeBatches: true,
  learns: true,
  options,
  create,
  models: ({ model, worker }) => [{ model, worker }],
  startFrom: (given, model) => ({ ...given, model }),
  standalone: (given, model) => ({ ...given, model }),
});

async function create(o: Options, { loadModel }: CriticEnvironment): Promise<CreatedCritic> {
  const { worker, dtype, lora, optimizer } = o;
  const how = {
    kind: 'value',
    ...{ bounded: o.bounded, bins: o.categorical },
    worker,
    dtype,
    loading: loadingOf({ ...o, engine: 'transformers' }),
    lora,
    optimizer,
  } as const;
  let model = await loadModel('critic', { model: o.model, ...how });
  let checked = false;

  const readingsOf = async (states: readonly State[]): Promise<Reading[]> => {
    const tokens = await tokensOf(model, states);
    const [first] = states;
    if (!checked && first?.tokens) await refuseOtherTokenizer(model, first);
    checked = true;
    return groupedByResponse(states, tokens);
  };

  return {
    sharesFirstState: true,

    async value(all, { report }) {
      const instead = readInstead(all, o.positions);
      const chosen = [...new Set(instead)];
      const states = chosen.map((i) => all[i]!);
      const readings = await readingsOf(states);
      const read = await model.values(readings.map(({ sequence }) => sequence));
      const values = new Array<number>(states.length);
      for (const [i, { places }] of readings.entries())
        for (const { index, length } of places) values[index] = read[i]![length]!;
      report?.({
        value_tokens_read: readings.reduce((sum, { sequence }) => sum + lengthOf(sequence), 0),
      });
      const place = new Map(chosen.map((i, k) => [i, k]));
      return instead.map((i) => ({
        value: Math.min(1, Math.max(0, values[place.get(i)!]!)),
        ...{ rationale: '', parsed: 'ok' as const, completions: [] },
      }));
    },

    async learn(all: readonly Outcome[], { learningRate, maxGradNorm }) {
      const allReturns = lambdaReturns(all, o.lambda);
      const states = all.map(({ state }) => state);
      const own = [...new Set(readInstead(states, o.positions))];
      const outcomes = own.map((i) => all[i]!);
      const targets = own.map((i) => allReturns[i]!);
      const readings = await readingsOf(outcomes.map(({ state }) => state));
      // A value is read before the token that carries its target; the last one is never read.
      const rows = readings.map(({ sequence, places }) => {
        const size = sequence.completionIds.length + 1;
        const completionIds = new Int32Array(size);
        completionIds.set(sequence.completionIds);
        const [mask, returns, before] = [0, 0, 0].map(() => new Float32Array(size));
        for (const { index, length } of places) {
          mask![length] = 1;
          returns![length] = targets[index]!;
          before![length] = outcomes[index]!.valuation.value;
        }
        return { sequence: { ...sequence, completionIds }, mask, returns, before };
      });
      const statistics = await model.accumulate(
        rows.map(({ sequence }) => sequence),
        rows.map(({ mask }) => mask!),
        [
          {
            stream: { kind: 'value', coefficient: 1, clip: o.clip },
            tensors: {
              returns: rows.map(({ returns }) => returns!),
              old_values: rows.map(({ before }) => before!),
            },
          },
        ],
        outcomes.length,
      );
      const step = await model.optimize(learningRate, maxGradNorm);
      return {
        loss: statistics.loss ?? Number.NaN,
        tokens: readings.reduce((sum, { sequence }) => sum + lengthOf(sequence), 0),
        mean_return: mean(targets),
        ...(o.clip !== null && { clipped: (statistics.value_clipped ?? 0) / outcomes.length }),
        grad_norm: step.grad_norm,
        update_norm: step.update_norm,
        learning_rate: learningRate,
      };
    },

    save: (folder, withOptimizer) => model.save(folder, withOptimizer),
    async load(folder) {
      model = await loadModel('critic', { model: folder, ...how });
    },
    restore: (folder) => model.restore(folder),
  };
}

const lengthOf = ({ promptIds, completionIds }: Sequence) =>
  promptIds.length + completionIds.length;

/** As the actor sampled them. Texts that no actor of this run wrote are tokenized. */
async function tokensOf(model: LanguageModel, states: readonly State[]): Promise<Sequence[]> {
  const texts = states.filter(({ tokens }) => tokens === null);
  const read = await model.tokenize(
    texts.map(({ problem }) => problem.prompt),
    texts.map(({ response }) => response),
    false,
    true,
  );
  let next = 0;
  return states.map(({ tokens }) => tokens ?? read[next++]!);
}

/** Ids mean nothing to a model with another tokenizer. */
async function refuseOtherTokenizer(model: LanguageModel, { problem, tokens }: State) {
  const [own] = await model.tokenize([problem.prompt], ['']);
  const [given, read] = [tokens!.promptIds, own!.promptIds];
  if (given.length === read.length && given.every((id, i) => id === read[i])) return;
  throw new UserError(
    "critic.model: its tokenizer reads a prompt otherwise than the actor's does, and a value head " +
      'reads the token ids that the actor sampled; take a model with the tokenizer of the actor, ' +
      "such as the actor's own",
  );
}
