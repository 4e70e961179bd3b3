/** The common interface of reward functions in every language. */
import type { Response } from '../task.ts';
import type { Problem } from '../types.ts';

export interface RewardFunction {
  /** Name in metrics and errors. */
  readonly name: string;
  /**
   * Called once when the workers run. Throws what is wrong with a function in a worker, or with the
   * problem's columns.
   */
  prepare?(problem: Problem | null): Promise<void>;
  /**
   * Returns a number, or null if the function does not apply; the caller checks it. Throws an error
   * that names the function.
   */
  score(response: Response): Promise<unknown>;
}

/**
 * A value that JSON can't carry as a number, in Python's notation; the caller's error quotes it.
 */
export class NotANumber {
  readonly words: string;

  constructor(words: string) {
    this.words = words;
  }
}
