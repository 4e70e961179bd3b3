/** The words of the project (one name per thing). Plain data; no behaviour. */
import type { Prompt } from './bridge/operations.ts';

export type { Prompt };
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/**
 * One problem of a task: what the actor is asked, and what the reward function needs to judge the
 * response.
 */
export interface Problem {
  /** Unique within the task and split; the same problem always has the same id. */
  readonly id: string;
  readonly prompt: Prompt;
  /** Reference columns: given to the reward function, never shown to the critic. */
  readonly columns: Readonly<Record<string, Json>>;
}

/** Token ids of a prompt, and of a response to it or of the beginning of one. */
export interface Sequence {
  readonly promptIds: Int32Array;
  readonly completionIds: Int32Array;
}

/** The actor's profile in the critic's prompt (In-Context Conditioning, ICC). */
export interface ActorProfile {
  readonly name: string;
  /** Number of parameters. */
  readonly parameters: number;
  /** Smoothed success rate in [0, 1]; null: not known yet. */
  readonly successRate: number | null;
}

/**
 * One response of the actor to a problem. Arrays have one entry for each token of the response,
 * end-of-sequence token included.
 */
export interface Trajectory {
  readonly problem: Problem;
  /** Index of its group (the trajectories of one problem in one iteration). */
  readonly group: number;
  /** null: not known (a host that sends none). */
  readonly promptIds: Int32Array | null;
  readonly completionIds: Int32Array;
  /** Log-probabilities of the tokens when they were sampled; null: not known. */
  readonly logprobs: Float32Array | null;
  /** UTF-16 units of `text` that are complete after each token. */
  readonly textEnds: Int32Array;
  /**
   * 1 where the actor wrote the token, 0 for tool or environment tokens; null: the actor wrote all.
   */
  readonly actorMask: Uint8Array | null;
  readonly text: string;
  readonly finishReason: 'stop_token' | 'stop_string' | 'length';
}

/** A trajectory that this run sampled, from whose tokens the actor learns. */
export interface SampledTrajectory extends Trajectory {
  readonly promptIds: Int32Array;
  readonly logprobs: Float32Array;
  /** Optimizer steps in the weights that served it. */
  readonly version: number;
}

export interface Rewarded {
  /** In [0, 1]. */
  readonly reward: number;
  /** What each of the config's reward functions gave, by name; null: not applicable. */
  readonly rewardParts?: Readonly<Record<string, number | null>>;
}

export type RewardedTrajectory = Trajectory & Rewarded;

/** A stretch [start, end) of a response's tokens: the unit of credit. */
export interface Segment {
  readonly start: number;
  readonly end: number;
}

/** State s_k: the prompt and the response before segment k. s_0 has an empty response. */
export interface State {
  /** Unique within an iteration. */
  readonly id: string;
  /** Critics and their formats get it with empty `columns`. */
  readonly problem: Problem;
  /** The response so far. */
  readonly response: string;
  /** Its token ids as the actor sampled them; null: only the text is known. */
  readonly tokens: Sequence | null;
  /** k. */
  readonly index: number;
  readonly group: number;
  /** Index of the trajectory that it belongs to; null: its group shares it, or it stands alone. */
  readonly trajectory: number | null;
  readonly actor: ActorProfile;
}

/** One completion of a generative critic, as sampled. */
export interface CriticCompletion {
  readonly promptIds: Int32Array;
  readonly completionIds: Int32Array;
  readonly text: string;
  /** Integer 0..10, or null: malformed. */
  readonly score: number | null;
  /**
   * One entry for each token: 1 for those that the critic drew, and learns from; 0 for those that
   * were put in its mouth. Absent: it drew all.
   */
  readonly mask?: Uint8Array;
  /**
   * Log-probabilities of its first tokens when an engine drew them; NaN for those that were put in
   * its mouth. Absent: they were not kept.
   */
  readonly logprobs?: Float32Array;
  /** Of a critic of several parts, the one that wrote it; of parts of parts, each by a slash. */
  readonly part?: string;
}

/** A critic's answer for one state. It depends on nothing that came after the state. */
export interface Valuation {
  /** In [0, 1]. */
  readonly value: number;
  /** What the critic wrote before the score; empty where it writes nothing. */
  readonly rationale: string;
  /** `malformed`: no completion had a valid score; the value is a fallback. */
  readonly parsed: 'ok' | 'malformed';
  /** Empty where the critic is not generative. */
  readonly completions: readonly CriticCompletion[];
  /**
   * Why the critic gave no answer, where it was not asked (`parsed` is then `malformed`): its
   * prompt leaves no room in the critic's context, or is refused (by its chat template, or by an
   * API); or the critic writes no scores at all at present.
   */
  readonly skipped?: 'too-long' | 'refused' | 'not-asked';
  /**
   * The critic was not asked about this state: its value is that of the last state before it that
   * the critic was asked about, and its segment counts as one with the segment before it. Default:
   * false.
   */
  readonly inherited?: boolean;
}

/**
 * A valued state and the rewards of all trajectories that went through it: what a critic learns
 * from.
 */
export interface Outcome {
  readonly state: State;
  readonly valuation: Valuation;
  /** At least one, each in [0, 1]. */
  readonly rewards: readonly number[];
}

/** Per-token credit of one trajectory. */
export interface Credit {
  readonly segments: readonly Segment[];
  /** V(s_k) for each segment, as used. */
  readonly values: Float64Array;
  /** A_k for each segment, before normalisation. */
  readonly segmentAdvantages: Float64Array;
  /** One for each token of the response; 0 where the actor did not write the token. */
  readonly advantages: Float32Array;
}
