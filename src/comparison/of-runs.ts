/** The options of an evaluation of runs: the first one's task and actor, and all their critics. */
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { namedBy, refuseForeign } from '../extensions/consent.ts';
import { findCritic } from '../standalone/find-critic.ts';
import { UserError } from '../user-error.ts';
import type { EvaluationInput } from './config.ts';

/**
 * @param folders runs, or checkpoints of runs
 * @param trustCode allows the code that the config of another user's run names: its task, its
 * rewards, and what lies beside its actor's weights
 * @returns options, and the folder that own files in them are relative to
 */
export async function evaluationOfRuns(
  folders: readonly string[],
  { trustCode = false }: { readonly trustCode?: boolean } = {},
): Promise<{ input: Omit<EvaluationInput, 'folder'>; base: string }> {
  const found = await Promise.all(folders.map((folder) => findCritic(folder)));
  const [first] = found;
  if (!first?.run)
    throw new UserError(
      `${folders[0]} is no run and no checkpoint of one, so its task and actor are not known: ` +
        'name them in a YAML file (docs/evaluate.md)',
    );
  const { config, base } = first.run;
  const { task, rewards } = config;
  const named = namedBy({ task, rewards, actor: config.actor }, base);
  refuseForeign(config.folder, named, trustCode, '--trust-code (TypeScript: trustCode: true)');
  const { stop_strings, max_new_tokens, temperature, top_p, top_k } = config.sampling;
  const { max_prompt_tokens, overlong_prompts } = config.sampling;
  const trained = join(dirname(first.model), 'actor');
  return {
    base,
    input: {
      ...{ seed: config.seed, task, rewards },
      actor: config.actor && {
        ...loadingOf(config.actor),
        model: existsSync(trained) ? trained : config.actor.model,
        name: config.actor.name ?? config.actor.model,
        success_rate: first.actor?.successRate ?? null,
      },
      sampling: {
        ...{ stop_strings, max_new_tokens, temperature, top_p, top_k },
        ...{ max_prompt_tokens, overlong_prompts },
      },
      segmentation: config.credit.segmentation,
      workers: config.workers,
      critics: Object.fromEntries(
        folders.map((from, i) => [nameOf(from, folders, i), { from: resolve(from) }]),
      ),
    },
  };
}

/** What of a run's actor is not its training. */
function loadingOf(actor: NonNullable<EvaluationInput['actor']> & object) {
  const { worker, dtype, revision, trust_remote_code, attn_implementation } = actor;
  const { quantization_config, tokenizer, chat_template_kwargs, engine, memory_share } = actor;
  return {
    ...{ worker, dtype, revision, trust_remote_code, attn_implementation },
    ...{ quantization_config, tokenizer, chat_template_kwargs, engine, memory_share },
  };
}

/** The last parts of its path that tell it from the others. */
function nameOf(folder: string, all: readonly string[], i: number): string {
  const last = (path: string) => basename(resolve(path)).replaceAll(/[^\w.@-]/g, '-');
  const twice = all.filter((other) => last(other) === last(folder)).length > 1;
  const longer = `${last(dirname(resolve(folder)))}-${last(folder)}`;
  if (twice) return `${i + 1}-${longer}`;
  // Digits alone are no name of a critic.
  return /^\d+$/.test(last(folder)) ? longer : last(folder);
}
