/** The sweep of table 4, and the runs at the settings that it chose. */
import type { Measured } from '../comparison/bootstrap.ts';
import type { EvaluationInput } from '../comparison/config.ts';
import { mean } from '../math/statistics.ts';
import type { Family } from './families.ts';
import { actorFrom, judgingOf, measuringOf } from './measuring.ts';
import {
  jointConfig,
  type MethodKey,
  methods,
  type Setting,
  settingsOf,
  startOf,
  trainBy,
} from './methods.ts';
import type { Part, Results, Work } from './parts.ts';
import { tuningSeeds } from './seeds.ts';
import type { Setup } from './setup.ts';
import { type CurvePoint, measure, type RunFigures, weightsOf } from './work.ts';

/** A setting's run on a seed that no table reports. */
function trial(
  setup: Setup,
  key: MethodKey,
  setting: Setting,
  seed: number,
): Part<RunFigures | null> {
  const { steps, sweep } = setup.size;
  const start = startOf(setup, seed, steps, key);
  const config = jointConfig(setup, seed, steps, key, setting, { iterations: sweep });
  return {
    ...{ name: `sweep-${key}`, seed, version: 1, options: config, after: start.after },
    run: (work) => trainBy(work, start, config, 'none'),
  };
}

export interface Swept {
  readonly setting: Setting;
  /** On each seed of the sweep, the mean held-out success over the evaluations behind the start. */
  readonly scores: readonly number[];
}

/** All trials of a method, in the order of its settings. */
export const trials = (setup: Setup, key: MethodKey) =>
  settingsOf(setup, key)
    .slice(0, setup.size.settings)
    .map((setting) => ({
      setting,
      parts: tuningSeeds(setup.size.tuning).map((seed) => trial(setup, key, setting, seed)),
    }));

export const sweptBy = (setup: Setup, key: MethodKey, results: Results): Swept[] =>
  trials(setup, key).map(({ setting, parts }) => ({
    setting,
    scores: parts.map((part) => {
      const figures = results.resultOf(part);
      return figures === null ? 0 : scoreOf(figures.curve);
    }),
  }));

/** Mean success behind the start: steadier than the last point. */
export function scoreOf(curve: readonly CurvePoint[]): number {
  const later = curve.filter(({ iteration }) => iteration > 0);
  return later.reduce((sum, { success }) => sum + success, 0) / Math.max(1, later.length);
}

/**
 * The best setting on average, of those that are on no seed worse by two standard errors than the
 * first, which is the recipe's own: a setting that does well on some seeds and fails on another is
 * not the better one. Standard errors are those of responses; they know nothing of other runs.
 *
 * @param responses that each score is the mean of
 */
export function bestOf(swept: readonly Swept[], responses: number): Swept {
  const [first] = swept;
  const fails = (score: number, own: number) =>
    score < own - 2 * Math.sqrt((score * (1 - score) + own * (1 - own)) / responses);
  const steady = swept.filter(
    ({ scores }) => !scores.some((score, i) => fails(score, first!.scores[i]!)),
  );
  return steady.reduce((best, one) => (mean(one.scores) > mean(best.scores) ? one : best), first!);
}

/** The method's own best setting, by the sweep of this reproduction or of docs/results.md. */
export function settingOf(setup: Setup, key: MethodKey, results: Results): Setting {
  if (setup.size.tuning > 0)
    return bestOf(sweptBy(setup, key, results), responsesOf(setup)).setting;
  // What a sweep on small chains chose says nothing of another task.
  return settingsOf(setup, key)[setup.given ? 0 : methods[key].chosen]!;
}

/** Responses behind a score: those of every evaluation of a trial but the one at its start. */
export const responsesOf = ({ size: { sweep, every, prompts } }: Setup): number =>
  Math.ceil(sweep / every) * 2 * prompts;

/** An evaluation of an actor's success alone. */
export function successOf(
  setup: Setup,
  seed: number,
  steps: number,
): Omit<EvaluationInput, 'folder' | 'critics' | 'actor'> {
  const { prompts, bootstrap } = setup.size;
  const { sampling, ...judging } = judgingOf(setup);
  return {
    ...{ ...measuringOf(setup, steps, seed, false), bootstrap },
    ...{ prompts: 4 * prompts, num_generations: 2, candidates: 0, states_per_response: 'one' },
    ...{ ...judging, references: 'outcomes', sampling },
  };
}

/** Of the actor that the part's run left. */
export async function measureSuccess(
  setup: Setup,
  work: Work,
  input: ReturnType<typeof successOf>,
): Promise<Measured> {
  const model = weightsOf(work.folder, 'joint', 'actor');
  const { distributions } = await measure(work, {
    // No critic is told of it.
    ...{ ...input, actor: { ...actorFrom(setup, model), success_rate: 0.5 } },
    critics: { outcomes: 'group-mean' },
  });
  return distributions.none!.success_measured;
}

export interface Trained {
  readonly setting: Setting;
  readonly figures: RunFigures;
  /** Of the actor at the end, on problems that nothing else was measured on. */
  readonly success: Measured;
}

/**
 * A method at its best setting, on a seed that tables report.
 *
 * @param main whose task the setting is chosen on
 * @param times as many iterations as the size has
 */
export function trained(
  main: Setup,
  { setup, steps }: Family,
  seed: number,
  key: MethodKey,
  times = 1,
): Part<Trained | null> {
  const start = startOf(setup, seed, steps, key);
  const iterations = times * setup.size.joint;
  const every = times * setup.size.every;
  const configOf = (setting: Setting) => {
    const config = jointConfig(setup, seed, steps, key, setting, { iterations });
    return { ...config, evaluation: { ...config.evaluation, every } };
  };
  const input = successOf(setup, seed, steps);
  const choosing = trials(main, key).flatMap(({ parts }) => parts);
  return {
    ...{ name: `rl-${key}`, seed, version: 4, after: [...start.after, ...choosing] },
    options: [settingsOf(setup, key).map(configOf), input],
    async run(work) {
      const setting = settingOf(main, key, work);
      work.log(`lambda ${setting.lambda}, learning rate ${setting.learning_rate}`);
      const figures = await trainBy(work, start, configOf(setting));
      if (figures === null) return null;
      return { setting, figures, success: await measureSuccess(setup, work, input) };
    },
  };
}
