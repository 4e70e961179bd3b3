/**
 * Uses a trained critic by itself: values and rationales of a response's prefixes, and rankings of
 * responses.
 */

import { createCritic, valuesOf } from '../checked-critic.ts';
import type { Config } from '../config/schema.ts';
import type { Critic } from '../critic.ts';
import { namedBy, namedByCritic, refuseForeign } from '../extensions/consent.ts';
import { criticEnvironment } from '../extensions/critic-environment.ts';
import {
  bareEnvironment,
  criticOfFolders,
  importCritic,
  loadCritic,
  loadTask,
  type PluginChoice,
} from '../extensions/find-plugin.ts';
import { textState } from '../state.ts';
import { type CriticFormat, paperFormat } from '../text/critic-prompt.ts';
import { type Segmentation, segmentationSchema } from '../text/segment.ts';
import { needsTokens, prefixesOfText } from '../text/segment-text.ts';
import type { ActorProfile, Prompt, State } from '../types.ts';
import { UserError } from '../user-error.ts';
import { startWorkers, type WorkerGroup } from '../workers/local.ts';
import { type FoundCritic, findCritic } from './find-critic.ts';
import { refuseIdle } from './idle-options.ts';

export interface OpenCriticOptions {
  /**
   * The task whose format the critic was trained with, and the folder that its paths are relative
   * to. Default: that of its run; outside of a run, the paper's format.
   */
  readonly task?: Config['task'];
  readonly base?: string;
  /**
   * The actor in ICC. Default: the checkpoint's actor; if it is not known, the prompt has no
   * profile.
   */
  readonly actor?: ActorProfile;
  /** Reason before the score. Default: as in training; outside of a run, true. */
  readonly thinking?: boolean;
  readonly maxNewTokens?: number;
  /** Completions for each state, whose values are averaged; 1 (default): the greedy one. */
  readonly completions?: number;
  /** Temperature of several completions. Default: as in training; outside of a run, 1. */
  readonly temperature?: number;
  /**
   * How responses are cut. Default: as in the run, else as the task does, else by sentence and
   * line.
   */
  readonly segmentation?: Segmentation;
  /**
   * Allows code that the config of somebody else's run names (its task, its critic, code in a
   * model's folder).
   */
  readonly trustCode?: boolean;
  /** Running workers, one of them named `critic`; `close` leaves them running. */
  readonly workers?: WorkerGroup;
}

export interface Judged {
  /** In [0, 1]; null: no completion had a valid score. */
  readonly value: number | null;
  /** The critic's words before the score; without a score, the whole completion. */
  readonly rationale: string;
}

export interface ValuedPrefix extends Judged {
  /** The partial response of this value, from an empty one to the whole response. */
  readonly response: string;
}

export interface ValuedResponse extends Judged {
  /** The last one is the whole response, with the same value and rationale as above. */
  readonly prefixes: readonly ValuedPrefix[];
}

export interface Ranked extends Judged {
  /** Index of the response among the given ones. */
  readonly index: number;
  readonly response: string;
}

export interface OpenedCritic {
  /** Returns the values of the response's prefixes. */
  value(prompt: Prompt, response: string, actor?: ActorProfile): Promise<ValuedResponse>;
  /**
   * Ranks whole responses, the best first. Those without a valid score are last, and equal ones
   * keep their order.
   */
  rank(prompt: Prompt, responses: readonly string[], actor?: ActorProfile): Promise<Ranked[]>;
  /** Returns the critic's prompt for a partial response. */
  prompt(prompt: Prompt, response: string, actor?: ActorProfile): Prompt;
  close(): Promise<void>;
}

/**
 * @param folder a run, a checkpoint of one, its `critic/`, any folder in Hugging Face format (also
 * a LoRA adapter), or a Hub name
 */
export async function openCritic(
  folder: string,
  options: OpenCriticOptions = {},
): Promise<OpenedCritic> {
  const found = await findCritic(folder);
  await refuseForeignRun(found, options);
  const { format, segmentation } = await formatOf(found, options);
  const workers = options.workers ?? (await startWorkers({ workers: [{ name: 'critic' }] }));
  const close = async () => {
    if (!options.workers) await workers.close();
  };
  try {
    const { critic, icc } = await load(found, options, format, workers);
    const stateOf = (
      prompt: Prompt,
      response: string,
      index: number,
      told = options.actor,
    ): State => {
      if (told && !icc)
        throw new UserError(
          'this critic was trained without In-Context Conditioning: tell it nothing of the actor',
        );
      return textState({
        ...{ id: `${index}`, problem: { id: 'given', prompt, columns: {} }, response, index },
        ...{ group: 0, actor: told ?? found.actor ?? nobody },
      });
    };
    const judge = async (states: readonly State[]): Promise<Judged[]> => {
      const greedy = (options.completions ?? 1) === 1;
      const valuations = await valuesOf(critic, states, { purpose: 'value', iteration: 0, greedy });
      return valuations.map(({ value, rationale, parsed }) => ({
        value: parsed === 'ok' ? value : null,
        rationale,
      }));
    };
    return {
      async value(prompt, response, actor) {
        const before = response === '' ? [] : prefixesOfText(response, segmentation);
        const responses = [...before, response];
        const judged = await judge(
          responses.map((partial, i) => stateOf(prompt, partial, i, actor)),
        );
        const prefixes = judged.map((one, i) => ({ response: responses[i]!, ...one }));
        return { ...judged.at(-1)!, prefixes };
      },
      async rank(prompt, responses, actor) {
        const judged = await judge(
          responses.map((response, i) => stateOf(prompt, response, i, actor)),
        );
        const ranked = judged.map((one, index) => ({ index, response: responses[index]!, ...one }));
        return ranked.sort((a, b) => (b.value ?? -1) - (a.value ?? -1));
      },
      prompt(prompt, response, actor) {
        if (!critic.prompt)
          throw new UserError(`the critic "${critic.name}" is not asked in words`);
        return critic.prompt(stateOf(prompt, response, 0, actor));
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function refuseForeignRun(
  { run }: FoundCritic,
  { task, trustCode = false }: OpenCriticOptions,
): Promise<void> {
  if (!run) return;
  const { folder, critic } = run.config;
  const parts = { critic, ...(task === undefined && { task: run.config.task }) };
  const code = [...namedBy(parts, run.base), ...(await namedByCritic(critic, run.base))];
  refuseForeign(folder, code, trustCode, '--trust-code (TypeScript: trustCode: true)');
}

async function formatOf(
  { run }: FoundCritic,
  options: OpenCriticOptions,
): Promise<{ format: CriticFormat; segmentation: Segmentation }> {
  const choice = options.task ?? run?.config.task;
  const base = options.base ?? (options.task ? '.' : (run?.base ?? '.'));
  const task =
    choice === undefined
      ? null
      : (await loadTask(choice as PluginChoice, bareEnvironment(base))).task;
  const own = [run?.config.credit.segmentation, task?.segmentation].find(
    (rule) => rule && !needsTokens(rule),
  );
  return {
    format: task?.criticFormat ?? paperFormat,
    segmentation: options.segmentation ?? own ?? segmentationSchema.parse({ by: 'sentence' }),
  };
}

async function load(
  found: FoundCritic,
  options: OpenCriticOptions,
  format: CriticFormat,
  workers: WorkerGroup,
): Promise<{ critic: Critic; icc: boolean }> {
  const { run, model: source } = found;
  const base = run?.base ?? '.';
  const given = run?.config.critic ?? (await criticOfFolders());
  const trained: { readonly use: string; readonly [option: string]: unknown } =
    typeof given === 'string' ? { use: given } : given;
  const { use, ...rest } = trained;
  const { standalone } = await importCritic(use, base);
  refuseIdle(use, options, standalone && ((wanted) => standalone(rest, source, wanted)));
  const wanted = { ...options, completions: options.completions ?? 1 };
  const own = standalone?.(rest, source, wanted);
  const choice = { ...(own ?? rest), use } as PluginChoice;
  const { plugin, options: checked } = await loadCritic(choice, base);
  const environment = criticEnvironment({
    base,
    ...{ seed: 0, format: ofAnyone(format), runFolder: null, frozen: true },
    ...{ signal: new AbortController().signal, log: (text) => console.error(text) },
    worker: () => workers.get('critic'),
  });
  const startFrom = own ? undefined : plugin.startFrom;
  const critic = await createCritic(plugin, startFrom?.(checked, source) ?? checked, environment);
  if (!own && !startFrom) await critic.load?.(source);
  // The actor's profile is a part of the critic's prompt.
  return { critic, icc: critic.prompt !== undefined && trained.icc !== false };
}

/** An actor of which nothing is known. */
const nobody: ActorProfile = { name: 'unknown', parameters: 0, successRate: null };

/** The format without the profile of `nobody`. */
const ofAnyone = (format: CriticFormat): CriticFormat => ({
  ...format,
  prompt: (state, profile, thinking) =>
    format.prompt(state, profile === nobody ? null : profile, thinking),
});
