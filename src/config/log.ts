/**
 * `log` of a config: which loggers a run feeds, besides its own folder. Names are the packages'.
 */
import { z } from 'zod';

const text = z.string().min(1);

const tensorboard = z.strictObject({
  use: z.literal('tensorboard'),
  /** Where event files are written; null: `tensorboard/` in the run's folder. */
  folder: text.nullable().default(null),
});

const wandb = z.strictObject({
  use: z.literal('wandb'),
  project: text.default('genac'),
  /** What the run is called; null: as its folder. */
  name: text.nullable().default(null),
  entity: text.nullable().default(null),
  group: text.nullable().default(null),
  tags: z.array(text).nullable().default(null),
  /** `offline` needs no network and no account; null: as WANDB_MODE says, else online. */
  mode: z.enum(['online', 'offline']).nullable().default(null),
});

const trackio = z.strictObject({
  use: z.literal('trackio'),
  project: text.default('genac'),
  /**
   * What the run is called; null: as its folder, with a few letters of its own. A run that is there
   * already gets a second one of its name.
   */
  name: text.nullable().default(null),
  group: text.nullable().default(null),
  /** A Space that shows it; null: it stays on this machine. */
  space_id: text.nullable().default(null),
  /** Where the database lies; null: where Trackio has all of them (TRACKIO_DIR). */
  folder: text.nullable().default(null),
});

const options = z.discriminatedUnion('use', [tensorboard, wandb, trackio]);
const named = z
  .enum(['tensorboard', 'wandb', 'trackio'])
  .transform((use) => options.parse({ use }));

export const logSchema = z
  .array(z.union([named, options]))
  .refine(
    (loggers) => new Set(loggers.map(({ use }) => use)).size === loggers.length,
    'each logger at most once',
  )
  .default([]);
