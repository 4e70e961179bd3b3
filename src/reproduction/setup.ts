/** What all tables are made of: a recipe and a size. */
import type { Config } from '../config/schema.ts';
import type { Size } from './sizes.ts';

export interface Setup {
  readonly size: Size;
  /** The recipe that runs begin with: `examples/miniature.yaml`, or the user's config. */
  readonly recipe: Config;
  /** Its task calls Python functions. */
  readonly usesPython?: true;
  /**
   * The recipe's task makes no models and knows no exact values, so that the actor and the critic
   * are those of its config, and values are measured against continuations.
   */
  readonly given?: Given;
  /** A critic that nobody trains, for table 6. */
  readonly largeModel?: Named;
}

/** A plugin with its options. */
export interface Named {
  readonly use: string;
  readonly [option: string]: unknown;
}

export interface Given {
  /** Folder that the recipe's own files are relative to. */
  readonly base: string;
  /** Further tasks of table 3, by the name of the shift. */
  readonly shifts: Readonly<Record<string, Config['task']>>;
}

/** A name alone is one without options. */
export const withOptions = (choice: Config['task']) =>
  typeof choice === 'string' ? { use: choice } : choice;

/** How the tables' critic values a state, where a row does not say otherwise. */
export const twoSampled = {
  ...{ completions_per_state: 2, read: 'sampled', agree_within: null, carry_until: null },
  baseline: 'leave-one-out',
} as const;

/** Folder that the files of configs are relative to. */
export const baseOf = ({ given }: Setup): string => given?.base ?? '.';
