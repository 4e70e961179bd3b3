/** One reward function, in whatever language it is written, as a run calls it. */
import type { Response } from '../task.ts';
import type { Problem } from '../types.ts';

export interface RewardFunction {
  /** In metrics and errors. */
  readonly name: string;
  /**
   * Called once when the workers run: throws what is wrong with a function that lives there, or
   * with the problem's columns.
   */
  prepare?(problem: Problem | null): Promise<void>;
  /**
   * A number, or null where the function does not apply; checked by the caller. Throws an error
   * that names the function.
   */
  score(response: Response): Promise<unknown>;
}

/**
 * A value that is not a number JSON can carry, in Python's words: the caller refuses it under this
 * name.
 */
export class NotANumber {
  readonly words: string;

  constructor(words: string) {
    this.words = words;
  }
}
