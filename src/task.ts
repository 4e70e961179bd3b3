/**
 * Where problems and rewards come from. A task is one file: a built-in one in `plugins/tasks/`, or
 * a user's own, named in the config.
 */
import type { z } from 'zod';
import type { Worker } from './bridge/worker.ts';
import type { CriticFormat } from './text/critic-prompt.ts';
import type { Segmentation } from './text/segment.ts';
import type { ActorProfile, Problem, Prompt, Sequence, State } from './types.ts';
import type { PythonFunctions } from './workers/python-functions.ts';

export type Split = 'train' | 'heldout';

/**
 * A finished response as text, of whatever actor wrote it: what a critic can learn from without any
 * actor at hand.
 */
export interface Rollout {
  readonly problem: Problem;
  readonly actor: ActorProfile;
  /** The partial responses before each segment; prefixes[0] is empty. */
  readonly prefixes: readonly string[];
  readonly response: string;
  /** In [0, 1]. */
  readonly reward: number;
  /**
   * Prefixes before this index did not come from the actor alone (they were edited): their outcome
   * tells nothing of its value. Usually 0.
   */
  readonly firstUnedited: number;
  /** Token ids of the prompt and of each prefix, if the actor of this run sampled it. */
  readonly tokens?: readonly Sequence[];
}

/** What an oracle wrote of one state, for stage 1. */
export interface OracleTrace {
  readonly state: State;
  readonly rationale: string;
  /** Integer 0..10; anything else is dropped and counted. */
  readonly score: number;
  /** Mean reward of the responses that went on from this state, in [0, 1]. */
  readonly observed: number;
}

/**
 * A state whose value is known exactly (or by many continuations): what critics are measured on.
 */
export interface ReferenceState {
  readonly state: State;
  readonly value: number;
}

/** What a task may ask of a live actor in order to know exact values. */
export interface ActorProbe {
  /** Largest number of tokens of a response. */
  readonly maxNewTokens: number;
  /**
   * How likely the actor is to go on with each answer: log-probabilities in nats at the temperature
   * of sampling. Answers are tokenized by themselves.
   *
   * @param beginnings what is written of each response; may be empty
   * @param ends the response ends with the answer, and the end counts. Default: false
   * @returns for each prompt one entry for each answer
   */
  choices(
    prompts: readonly Prompt[],
    beginnings: readonly string[],
    answers: readonly string[],
    ends?: boolean,
  ): Promise<readonly Float32Array[]>;
}

export interface Response {
  readonly text: string;
  readonly problem: Problem;
  readonly finishReason: 'stop_token' | 'stop_string' | 'length';
  /**
   * Token ids as sampled, end-of-sequence token included; absent where the response did not come
   * from the live actor.
   */
  readonly completionIds?: Int32Array;
}

export interface Task {
  readonly name: string;
  /**
   * Called once when the workers run, before anything else is asked of the task; what needs Python
   * is loaded here.
   */
  prepare?(): Promise<void>;
  /**
   * Problems number `from` .. `from + count - 1` of a split. The same arguments give the same
   * problems, in the same order.
   */
  problems(
    split: Split,
    seed: number,
    from: number,
    count: number,
  ): readonly Problem[] | Promise<readonly Problem[]>;
  /**
   * The reward of a response: a number in [0, 1]. Absent: the config's `rewards` judge alone. Where
   * the config has `rewards`, they replace this.
   */
  reward?(response: Response): number | Promise<number>;
  /** How responses are cut, where the config says nothing. */
  readonly segmentation?: Segmentation;
  /** The critic's prompt and score format, where the paper's default does not fit. */
  readonly criticFormat?: CriticFormat;
  /** Stage 1: traces number `from` .. `from + count - 1` of a rule-based oracle. */
  oracleTraces?(seed: number, from: number, count: number): readonly OracleTrace[];
  /**
   * Stages 1 and 2: rollouts of frozen actors that the task brings itself. Without it stage 2
   * samples from the actor.
   */
  frozenRollouts?(split: Split, seed: number, from: number, count: number): readonly Rollout[];
  /** States of held-out actors with known values. */
  referenceStates?(seed: number, count: number): readonly ReferenceState[];
  /**
   * The expected `reward` of responses that a live actor continues from these states as it samples,
   * one number in [0, 1] for each. Not asked where `rewards` replace the task's own.
   */
  exactValues?(states: readonly State[], actor: ActorProbe): Promise<readonly number[]>;
  /**
   * What checking a state by its problem, columns included, tells without any knowledge of the
   * actor, as one of a few names, such as the number of the step and whether it is right so far.
   * Evaluations then have a floor that knows the mean value of each.
   */
  stateClass?(state: State): string;
  /**
   * Makes a model that the task brings itself, `model: task:NAME` in a config, as a folder in
   * Hugging Face format.
   */
  makeModel?(name: string, folder: string, tools: ModelTools): Promise<void>;
}

export interface ModelTools {
  readonly worker: Worker;
  readonly seed: number;
  /** Says how far it is: 0..1, and a few words. */
  readonly progress: (fraction: number, words: string) => void;
  readonly signal: AbortSignal;
  /** Share of the usual training, above 0; default 1. Less gives a model that runs, no good one. */
  readonly effort?: number;
}

/** What a task is made with. */
export interface TaskEnvironment {
  /** Folder that paths in the task's options are relative to: that of the config file. */
  readonly base: string;
  /**
   * The config's `credit.segmentation`, for tasks that cut responses themselves; null: it says
   * nothing.
   */
  readonly segmentation?: Segmentation | null;
  /**
   * Python functions, called in the worker `python`. Not before `prepare`: the workers do not run
   * while a task is made.
   */
  readonly python: PythonFunctions;
  /** A line for the run's log and the terminal. */
  log(text: string): void;
}

export interface TaskPlugin<Options = unknown> {
  readonly name: string;
  /** Checks the options that the config gives. */
  readonly options: z.ZodType<Options>;
  /** true: it calls Python functions, and the run starts the worker `python` for them. */
  readonly usesPython?: boolean;
  /**
   * Throws what can be known to be wrong without a worker: an unreadable file, a column that is not
   * there.
   */
  create(options: Options, environment: TaskEnvironment): Task | Promise<Task>;
}

/** For a file of one's own: `export default defineTask({ name, options, create })`. */
export function defineTask<Options>(plugin: TaskPlugin<Options>): TaskPlugin<Options> {
  return plugin;
}
