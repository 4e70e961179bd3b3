/**
 * The critic: whatever turns states into valuations, and may learn from outcomes. A critic is one
 * file: a built-in one in `plugins/critics/`, or a user's own, named in the config. Critics see
 * states, never sockets.
 */
import type { z } from 'zod';
import type { LoadingOptions, LoraOptions, OptimizerOptions } from './bridge/model-options.ts';
import type { LanguageModel } from './language-model.ts';
import type { OracleTrace } from './task.ts';
import type { CriticFormat } from './text/critic-prompt.ts';
import type { Outcome, Prompt, State, Valuation } from './types.ts';

/** Identifies a request within the run; its random draws depend on these fields. */
export interface CriticContext {
  /** Names what the values are for, e.g. `joint`; values for another purpose have other draws. */
  readonly purpose: string;
  readonly iteration: number;
  /** The critic's best single answer, without random draws where it can: for evaluation. */
  readonly greedy?: boolean;
  /**
   * Reports numbers of this call, such as tokens or dollars that it cost. The caller sums them over
   * an iteration and logs them under `critic/`. Absent: they are dropped.
   */
  readonly report?: (metrics: UpdateMetrics) => void;
  /** Rewards of all trajectories, by index, for critics that need outcomes. */
  readonly rewards?: readonly { readonly group: number; readonly reward: number }[];
}

export interface UpdateOptions {
  readonly learningRate: number;
  readonly maxGradNorm: number | null;
}

/** Numbers of one update, named as in `metrics.jsonl` without the `critic/` before them. */
export type UpdateMetrics = Readonly<Record<string, number>>;

/**
 * What is known of a critic before it is made, so that a config that it can't serve is refused at
 * once.
 */
export interface CriticTraits {
  /**
   * `states`: a value depends on its state alone, and may be asked for while the actor still
   * samples.
   * `outcomes`: it depends on the rewards of the group (`context.rewards`).
   */
  readonly needs: 'states' | 'outcomes';
  /** Has it `learn`, for stages 2 and 3? Default: false. */
  readonly learns?: boolean;
  /** Has it `imitate`, for stage 1? Default: false. */
  readonly imitates?: boolean;
  /**
   * Is it asked about all states of a batch at once? For critics that read a response's states
   * together, or whose values depend in their last digits on what else is asked. Default: false.
   */
  readonly wholeBatches?: boolean;
  /** Does it need an actor that continues responses (`environment.actor`)? Default: false. */
  readonly continues?: boolean;
  /** Does it need the task's exact values (`environment.actor.exactValues`)? Default: false. */
  readonly exact?: boolean;
}

/** A response that the actor finished from a state. */
export interface Continuation {
  /** The whole response, the state's part included. */
  readonly text: string;
  /** New tokens only, end-of-sequence token included. */
  readonly completionIds: Int32Array;
  /** In [0, 1]; null: no reward function applied. */
  readonly reward: number | null;
}

/** Lets the actor continue the responses of states, by their exact token ids. */
export interface Continuations {
  /**
   * `count` continuations of each state, sampled and rewarded as in training. They depend on the
   * run's seed, the context, the state and the actor's weights.
   *
   * @throws UserError for a state without token ids
   */
  sample(
    states: readonly State[],
    count: number,
    context: Pick<CriticContext, 'purpose' | 'iteration'>,
  ): Promise<Continuation[][]>;
  /**
   * The exact values of states under the actor's current weights, each in [0, 1]; null: the task
   * knows none.
   */
  readonly exactValues: ((states: readonly State[]) => Promise<readonly number[]>) | null;
}

export interface Critic {
  readonly name: string;
  readonly needs: CriticTraits['needs'];
  /** Default: as the plugin says. With some options a critic may be asked so, with others not. */
  readonly wholeBatches?: boolean;
  readonly continues?: boolean;
  /** Is s_0 one state for its whole group (valued once), or one for each trajectory? */
  readonly sharesFirstState: boolean;
  /** One valuation for each state, in order. Its value is in [0, 1]. */
  value(states: readonly State[], context: CriticContext): Promise<Valuation[]>;
  /** One update from outcomes (REINFORCE, regression, ...). Absent: the critic does not learn. */
  learn?(outcomes: readonly Outcome[], update: UpdateOptions): Promise<UpdateMetrics>;
  /** Stage 1, for critics that can imitate an oracle. Gradient of one batch and one step. */
  imitate?(traces: readonly OracleTrace[], update: UpdateOptions): Promise<UpdateMetrics>;
  /** Mean negative log-likelihood in nats of the tokens of these traces' rationales. */
  rationaleLoss?(traces: readonly OracleTrace[]): Promise<number>;
  /**
   * Writes weights, and with `optimizer` all that exact continuation needs, to a folder. Absent:
   * there is nothing to save.
   */
  save?(folder: string, optimizer: boolean): Promise<void>;
  /** Replaces the weights by a folder that `save` wrote; the optimizer starts afresh. */
  load?(folder: string): Promise<void>;
  /**
   * The prompt about a state; an oracle gets the same one. Absent: the task's format, with
   * the actor's profile, and words before the score.
   */
  prompt?(state: State): Prompt;
  /**
   * Weights and optimizer as `save` wrote them: the next update is what it would have been. Absent:
   * `load` is called, and resuming is not exact.
   */
  restore?(folder: string): Promise<void>;
  /**
   * Takes other options (checked by the plugin's schema) from the next call on. Absent: they can't
   * change while a run goes on.
   */
  configure?(options: unknown): void;
  close?(): Promise<void>;
}

/** A critic as a config names it: `{use: value-head, model: ...}`. */
export type CriticChoice = string | { readonly use: string; readonly [option: string]: unknown };

/** What a critic is made with. */
export interface CriticEnvironment {
  readonly seed: number;
  readonly format: CriticFormat;
  /**
   * Aborted when the run is over or failed. A run that is asked to stop finishes its iteration
   * first.
   */
  readonly signal: AbortSignal;
  /** One line for the user. */
  log(text: string): void;
  /**
   * A folder of its own in the run's, made when it is asked for; null: there is no run. It is no
   * part of checkpoints.
   */
  folder(): Promise<string | null>;
  /**
   * Loads a model into a worker, under a name of the critic's own; the same name once more replaces
   * it.
   */
  loadModel(name: string, options: CriticModelOptions): Promise<LanguageModel>;
  /**
   * Makes another critic as a part of this one, by the options of a config: its models, folder and
   * draws are its own under `name`.
   */
  critic(name: string, choice: CriticChoice): Promise<Critic>;
  /** null: there is no actor here (a critic by itself, logged responses, a host that can't). */
  readonly actor: Continuations | null;
}

export interface CriticModelOptions {
  readonly model: string;
  readonly worker: string;
  /**
   * A language model, or a value model, which has one number for each token in the place of a
   * vocabulary. Default: `causal`.
   */
  readonly kind?: 'causal' | 'value';
  /** A value model's numbers are in (0, 1), by a sigmoid. Default: false. */
  readonly bounded?: boolean;
  /**
   * A value model's head gives the probabilities of so many values from 0 to 1. Default: null, one
   * number.
   */
  readonly bins?: number | null;
  readonly dtype: 'auto' | 'float32' | 'bfloat16';
  /** Default: as its folder says. */
  readonly loading?: LoadingOptions;
  readonly lora: LoraOptions | null;
  readonly optimizer: OptimizerOptions | null;
}

/** What `create` returns: the plugin says the rest. */
export type CreatedCritic = Omit<Critic, 'name' | 'needs' | 'continues'>;

/** Other options for a trained critic that is used by itself; what is absent stays as it was. */
export interface StandaloneOptions {
  readonly thinking?: boolean;
  readonly maxNewTokens?: number;
  /** Of each state; 1: the greedy one. */
  readonly completions: number;
  readonly temperature?: number;
}

export interface CriticPlugin<Options = unknown> extends CriticTraits {
  readonly name: string;
  /** Checks the options that the config gives. */
  readonly options: z.ZodType<Options>;
  create(options: Options, environment: CriticEnvironment): CreatedCritic | Promise<CreatedCritic>;
  /**
   * What these options name that works with the user's rights: keys that are sent somewhere, files
   * that are written. Another user's run that names them takes consent. Default: nothing.
   */
  names?(options: Options): readonly string[];
  /** The models that these options name, and their workers, which the run starts. Default: none. */
  models?(options: Options): readonly { readonly model: string; readonly worker: string }[];
  /**
   * Options that are files or folders relative to the working directory; a run keeps them as
   * absolute paths. `model` and `tokenizer`, which may be names, need not be told. Default: none.
   */
  readonly paths?: readonly string[];
  /** Other critics that these options name in a list, as its parts. Default: none. */
  parts?(options: Options): readonly CriticChoice[];
  /**
   * These options with the weights that `save` wrote to `folder` in the place of their model.
   * Absent: the critic is made as it is, and then given `load(folder)`.
   */
  startFrom?(options: Options, folder: string): Options;
  /**
   * Options for the weights in `model`, by themselves: any folder of a model, also one that no run
   * has trained (`given` is then empty). Absent: the critic is made as its run made it.
   */
  standalone?(
    given: Readonly<Record<string, unknown>>,
    model: string,
    wanted: StandaloneOptions,
  ): object;
}

/** For a file of one's own: `export default defineCritic({ name, needs, options, create })`. */
export function defineCritic<Options>(plugin: CriticPlugin<Options>): CriticPlugin<Options> {
  return plugin;
}
