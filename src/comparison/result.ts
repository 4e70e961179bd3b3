/** What an evaluation says, as it is written to `evaluation.json`. */
import type { Figure, Measured } from './bootstrap.ts';
import type { Cost } from './cost.ts';
import type { Ground } from './ground.ts';

/** One critic on one distribution. */
export interface CriticResult {
  /** By the measure's name; those that the states don't tell are absent. */
  readonly figures: Readonly<Record<string, Measured>>;
  /** Difference to the first critic, on the same problems; absent for the first. */
  readonly against?: Readonly<Record<string, Figure>>;
  /** Of valuing the states; null: a floor. */
  readonly cost: Cost | null;
  /** States by the nearest score, as they are valued and as they are. */
  readonly calibration: readonly {
    /** 0 to 10. */
    readonly score: number;
    readonly value: number;
    readonly reference: number;
    readonly n: number;
  }[];
  /** Mean squared error by the state's number k, whole responses not among them. */
  readonly by_state: readonly { readonly k: number; readonly mse: number; readonly n: number }[];
}

export interface DistributionResult {
  readonly references: Ground['references'];
  readonly problems: number;
  readonly states: number;
  readonly responses: number;
  /** Mean reward of the responses. */
  readonly success: number;
  /** The same with its interval. */
  readonly success_measured: Measured;
  /** Floors are among them, in brackets: `(constant)`, `(position)`, `(state class)`. */
  readonly critics: Readonly<Record<string, CriticResult>>;
}

export interface EvaluationResult {
  readonly genac: string;
  readonly folder: string;
  readonly seed: number;
  readonly bootstrap: number;
  /** Words for each measure. */
  readonly measures: Readonly<Record<string, string>>;
  /** Tokens that training each critic read and wrote, where a run trained it. */
  readonly trained_tokens: Readonly<Record<string, number>>;
  /** By the shift's name; `none`: as the options say. */
  readonly distributions: Readonly<Record<string, DistributionResult>>;
}
