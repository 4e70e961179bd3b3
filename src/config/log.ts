/** `log` of a config: the loggers that receive a run's metrics. Names are those of the packages. */
import { z } from 'zod';

const text = z.string().min(1);

const tensorboard = z.strictObject({
  use: z.literal('tensorboard'),
  /** Folder of the event files; null: `tensorboard/` in the run's folder. */
  folder: text.nullable().default(null),
});

const wandb = z.strictObject({
  use: z.literal('wandb'),
  project: text.default('genac'),
  /** Name of the run; null: the name of its folder. */
  name: text.nullable().default(null),
  entity: text.nullable().default(null),
  group: text.nullable().default(null),
  tags: z.array(text).nullable().default(null),
  /** `offline` needs no network and no account; null: WANDB_MODE, else online. */
  mode: z.enum(['online', 'offline']).nullable().default(null),
});

const trackio = z.strictObject({
  use: z.literal('trackio'),
  project: text.default('genac'),
  /**
   * Name of the run; null: the name of its folder with a few random letters. An existing run of
   * this name gets a second one.
   */
  name: text.nullable().default(null),
  group: text.nullable().default(null),
  /** A Space that shows the run; null: the data stay on this machine. */
  space_id: text.nullable().default(null),
  /** Folder of the database; null: Trackio's own folder (TRACKIO_DIR). */
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
