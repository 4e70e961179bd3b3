/**
 * Problems from a data set of the Hugging Face Hub, a folder or files, through the package
 * `datasets`. The config's `rewards` judge the responses.
 */
import { z } from 'zod';
import { defineTask, type Task } from '../../src/plugin-api.ts';
import { indexedProblems, type Problems, type Sources } from './huggingface/indexed.ts';
import { locate, Source } from './huggingface/source.ts';
import { streamedProblems } from './huggingface/streamed.ts';
import { refuseShare, shareFields, shareOf } from './rows/held-out.ts';
import { refusePromptOptions, rowFields } from './rows/prompt.ts';

const name = z.string().min(1);
const data = z.union([name, z.array(name).min(1)]);

const options = z
  .strictObject({
    /**
     * Hub name, folder, or file(s) (.parquet, .json, .jsonl, .csv, .tsv, .arrow, also with .gz).
     * Paths are relative to the config file.
     */
    data,
    configuration: name.nullable().default(null),
    split: name.default('train'),
    /** Branch, tag or commit on the Hub; null: its main branch. */
    revision: name.nullable().default(null),
    /** For sets that don't fit on the disk or in the time: rows are read as they are needed. */
    streaming: z.boolean().default(false),
    /** Rows that the shuffling of a stream draws from; null: the data's own order. */
    shuffle_buffer: z.int().positive().nullable().optional(),
    ...rowFields,
    /** A split of its own, data of its own, or a share of the prompts. */
    heldout: z
      .strictObject({
        split: name.optional(),
        data: data.optional(),
        configuration: name.optional(),
        ...shareFields,
      })
      .prefault({}),
    /** Rows that give no problem: an error that names them, or dropped and counted. */
    bad_rows: z.enum(['error', 'drop']).default('error'),
  })
  .superRefine((given, context) => {
    refusePromptOptions(given, context);
    for (const own of ['split', 'data', 'configuration'] as const)
      if (given.heldout[own] !== undefined) refuseShare(given.heldout, own, context);
    if (!given.streaming && given.shuffle_buffer !== undefined) {
      const message = 'has no effect without `streaming: true`: every epoch is shuffled as a whole';
      context.addIssue({ code: 'custom', path: ['shuffle_buffer'], message });
    }
  });

export default defineTask({
  name: 'huggingface',
  options,
  usesPython: true,
  create(given, { base, python, log }): Task {
    const { heldout, streaming, bad_rows: policy, shuffle_buffer: buffer = 10_000 } = given;
    locate(given.data, base, 'data');
    if (heldout.data !== undefined) locate(heldout.data, base, 'heldout.data');
    const own =
      heldout.split !== undefined ||
      heldout.data !== undefined ||
      heldout.configuration !== undefined;
    const share = shareOf(heldout, own);
    let problems: Problems | null = null;
    return {
      name: 'huggingface',
      async prepare() {
        const sources: Sources = {
          train: await Source.open(python, base, given, streaming, given),
          heldout: own
            ? await Source.open(
                python,
                base,
                {
                  data: heldout.data ?? given.data,
                  configuration:
                    heldout.configuration ??
                    (heldout.data === undefined ? given.configuration : null),
                  split: heldout.split ?? (heldout.data === undefined ? given.split : 'train'),
                  revision: heldout.data === undefined ? given.revision : null,
                },
                streaming,
                given,
                'heldout.data',
              )
            : null,
        };
        problems = streaming
          ? streamedProblems(sources, { rows: given, policy, share, buffer, log })
          : await indexedProblems(sources, given, policy, share, log);
      },
      problems(split, seed, from, count) {
        if (!problems) throw new Error('the task huggingface has no problems before `prepare`');
        return problems(split, seed, from, count);
      },
    };
  },
});
