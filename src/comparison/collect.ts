/** Responses, states and reference values of a distribution, made once and kept. */
import { join } from 'node:path';
import { sampling as runSampling } from '../config/schema.ts';
import { mapYielding } from '../event-loop.ts';
import { continueStates } from '../iteration/continuations.ts';
import { promptIdsOf } from '../iteration/prompt-ids.ts';
import { promptLimit } from '../iteration/prompt-limit.ts';
import type { LanguageModel, Sampled } from '../language-model.ts';
import { deriveSeed, Random } from '../math/random.ts';
import { mean } from '../math/statistics.ts';
import { withColumns } from '../rewards/columns.ts';
import type { Split } from '../task.ts';
import { segmentResponse, textBefore } from '../text/segment.ts';
import type { ActorProfile, Problem } from '../types.ts';
import { UserError } from '../user-error.ts';
import type { Ground, Tools } from './ground.ts';
import { digestOf, fingerprint, Lines } from './lines.ts';
import type { Reference } from './measures.ts';
import { namedFiles } from './named-files.ts';
import { broughtByTask } from './own-rollouts.ts';
import { type CollectedProblem, type CollectedState, referenceOf, statesOf } from './states.ts';

/** Problems that are sampled, and later valued, together. */
export const CHUNK = 16;

export interface Collected {
  /** Of all that the states depend on. */
  readonly digest: string;
  readonly problems: readonly CollectedProblem[];
}

export async function collect(name: string, ground: Ground, tools: Tools): Promise<Collected> {
  const { options, references } = ground;
  const model = options.actor && (await modelOf(ground, tools));
  const { rank_by: _, group_size, ...others } = options;
  const sampledBy = group_size === null ? others : { ...others, group_size };
  const files = namedFiles([options.task, options.rewards], tools.base);
  const digest = digestOf([sampledBy, references, ground.segmentation, model, ...files]);
  const lines = await Lines.open<CollectedProblem>(
    join(tools.folder, 'states', `${name}.jsonl`),
    digest,
    tools.log,
  );
  const problems = [...lines.known];
  const wanted = options.actor ? await wantedProblems(ground, tools, problems.length) : null;
  if (wanted === null && problems.length === 0) {
    for (const one of broughtByTask(ground)) problems.push(one);
    for (const one of problems) lines.add(one);
  }
  for (let from = problems.length; wanted && from < wanted.length; from += CHUNK) {
    if (from === problems.length && from === 0) tools.log(`${name}: sampling`);
    tools.signal.throwIfAborted();
    const some = wanted.slice(from, from + CHUNK);
    for (const one of await sampled(ground, some, from, tools)) {
      lines.add(one);
      problems.push(one);
    }
    tools.log(`${name}: states of ${problems.length}/${wanted.length} problems`);
  }
  return { digest, problems };
}

async function modelOf({ options, sourceOf }: Ground, { log }: Tools): Promise<unknown> {
  const { model, worker } = options.actor!;
  if (model.startsWith('task:')) log(`the actor is ${model}`);
  return fingerprint(await sourceOf(model, worker));
}

/** Those of the split; none, if all of them are known. */
async function wantedProblems(
  ground: Ground,
  tools: Tools,
  known: number,
): Promise<readonly Problem[]> {
  const { task, options } = ground;
  const { split, seed, prompts } = options;
  if (known >= prompts) return [];
  const given = await task.problems(split, seed, 0, prompts);
  // A small set begins anew behind its end. Intervals would take the same problem for another.
  const all = [...new Map(given.map((one) => [one.id, withColumns(one)])).values()];
  if (known >= all.length) return [];
  if (all.length < given.length)
    tools.log(`the task has ${all.length} ${split} problems, not ${prompts}: each is taken once`);
  return fitting(ground, (await ground.actor())!, all, split, tools);
}

/** What doesn't fit is an error, or dropped and told, by `sampling.overlong_prompts`. */
async function fitting(
  { options }: Ground,
  actor: LanguageModel,
  all: readonly Problem[],
  split: Split,
  { log }: Tools,
): Promise<readonly Problem[]> {
  const limit = promptLimit(runSampling.parse(options.sampling), actor.loaded.context_length);
  if (limit === null) return all;
  const ids = await promptIdsOf(actor, all);
  const short = all.filter((_, i) => ids[i]!.length <= limit.tokens);
  if (short.length === all.length) return all;
  const found =
    `${all.length - short.length} of ${all.length} ${split} prompts have more than ` +
    `${limit.tokens} tokens (${limit.because})`;
  if (options.sampling.overlong_prompts === 'error' || short.length === 0)
    throw new UserError(
      `${found}: make room, or set sampling.overlong_prompts: drop to leave them out`,
    );
  log(`${found}: they are left out`);
  return short;
}

/** Success of the actor on other problems, for In-Context Conditioning. */
async function profileOf(
  ground: Ground,
  actor: LanguageModel,
  tools: Tools,
): Promise<ActorProfile> {
  const known = profiles.get(actor);
  if (known) return known;
  const { options, task } = ground;
  const { success_rate, name, model } = options.actor!;
  const measure = async () => {
    const given = await task.problems('train', options.seed, 0, options.icc_rollouts);
    const problems = await fitting(ground, actor, given.map(withColumns), 'train', tools);
    const responses = await sample(ground, actor, problems, 1, 'icc', 0);
    return mean(await rewardsOf(ground, problems, responses, 1));
  };
  const profile = {
    name: name ?? model,
    parameters: actor.loaded.parameters,
    successRate: success_rate ?? (await measure()),
  };
  profiles.set(actor, profile);
  return profile;
}

const profiles = new WeakMap<LanguageModel, ActorProfile>();

async function sample(
  { options }: Ground,
  actor: LanguageModel,
  problems: readonly Problem[],
  count: number,
  purpose: string,
  from: number,
): Promise<Sampled[]> {
  const { max_new_tokens, temperature, top_p, top_k, stop_strings } = options.sampling;
  const promptIds = await promptIdsOf(actor, problems);
  return actor.sample({
    prompts: promptIds.map((ids) => ({ promptIds: ids, completionIds: new Int32Array() })),
    completionsPerPrompt: count,
    ...{ max_new_tokens, temperature, top_p, top_k, stop_strings },
    seed: (i) =>
      deriveSeed(options.seed, `evaluate/${purpose}`, from + Math.floor(i / count), i % count),
  });
}

async function rewardsOf(
  { rewardOf }: Ground,
  problems: readonly Problem[],
  responses: readonly Sampled[],
  count: number,
): Promise<number[]> {
  const rewards = await mapYielding(responses, ({ text, finishReason, completionIds }, i) =>
    rewardOf({ text, finishReason, completionIds, problem: problems[Math.floor(i / count)]! }),
  );
  return (await Promise.all(rewards)).map(({ reward }) => reward);
}

/** @param from number of the first of the problems, on which the draws depend */
async function sampled(
  ground: Ground,
  problems: readonly Problem[],
  from: number,
  tools: Tools,
): Promise<CollectedProblem[]> {
  const { options } = ground;
  const actor = (await ground.actor())!;
  const profile = await profileOf(ground, actor, tools);
  const { num_generations, candidates, group_size } = options;
  const count = Math.max(num_generations, candidates, group_size ?? 0);
  const all = await sample(ground, actor, problems, count, 'actor', from);
  const rewards = await rewardsOf(ground, problems, all, count);
  const promptIds = await promptIdsOf(actor, problems);
  const collected = problems.map((problem, p): CollectedProblem => {
    const own = all.slice(p * count, (p + 1) * count);
    const reward = rewards.slice(p * count, (p + 1) * count);
    return {
      problem,
      actor: profile,
      promptIds: Array.from(promptIds[p]!),
      states: unreferenced(ground, own.slice(0, num_generations), reward, from + p),
      responses: own.map(({ text, completionIds, finishReason }, r) => ({
        ...{ text, reward: reward[r]!, completionIds: Array.from(completionIds) },
        written: completionIds.length - (finishReason === 'stop_token' ? 1 : 0),
        last: statesBefore(ground, own[r]!).at(-1)!,
      })),
    };
  });
  return withReferences(ground, actor, collected, from);
}

/** The state before each segment of a response. */
const statesBefore = ({ segmentation }: Ground, response: Sampled) =>
  segmentResponse(response, segmentation).map((segment, index) => ({
    ...{ index, text: textBefore(response, segment), tokens: segment.start },
  }));

/** States of a problem's responses, with outcomes as their references. */
function unreferenced(
  ground: Ground,
  responses: readonly Sampled[],
  rewards: readonly number[],
  problem: number,
): CollectedState[] {
  const later = responses.flatMap((response, r): CollectedState[] => {
    const reference = referenceOf([rewards[r]!]);
    const states = statesBefore(ground, response).map((state) => ({
      ...{ ...state, response: r, reference },
    }));
    if (ground.options.states_per_response === 'all') return states.slice(1);
    const random = new Random(deriveSeed(ground.options.seed, 'evaluate/state', problem, r));
    return [states[random.integer(states.length)]!].filter(({ index }) => index > 0);
  });
  const first = { response: null, index: 0, text: '', tokens: 0, reference: referenceOf(rewards) };
  return [first, ...later];
}

async function withReferences(
  ground: Ground,
  actor: LanguageModel,
  collected: readonly CollectedProblem[],
  from: number,
): Promise<CollectedProblem[]> {
  const { references, options, rewardOf } = ground;
  if (references === 'outcomes') return [...collected];
  const states = collected.flatMap((one, p) => statesOf(one, from + p));
  let found: Reference[];
  if (references === 'exact') {
    const exact = (await ground.exactValues())!;
    // The columns of the problem are the task's own.
    const whole = collected.flatMap(({ problem, states: own }) => own.map(() => problem));
    const values = await exact(states.map((state, i) => ({ ...state, problem: whole[i]! })));
    found = values.map((value) => ({ mean: value, square: value, count: null }));
  } else {
    const parts = { model: actor, rewardOf, sampling: runSampling.parse(options.sampling) };
    const { continuations: count, seed } = options;
    const continued = await continueStates(parts, states, count, (i) => {
      const { id } = states[Math.floor(i / count)]!;
      return deriveSeed(seed, `evaluate/reference/${id}`, i % count);
    });
    found = continued.map((own) => referenceOf(own.map(({ reward }) => reward)));
  }
  let next = 0;
  return collected.map((one) => ({
    ...one,
    states: one.states.map((state) => ({ ...state, reference: found[next++]! })),
  }));
}
