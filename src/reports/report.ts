/**
 * Writes the page of a demo: one self-contained HTML file with figures, plots and some responses.
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { refuseNoFile } from '../files/text-file.ts';
import { type RecordedTrajectory, readMetrics, trajectoriesOf } from '../run-folder/read.ts';
import { UserError } from '../user-error.ts';
import {
  conditions,
  criticRows,
  type DemoSummary,
  outcomeRows,
  readCritic,
  summarizeDemo,
  verdict,
} from './demo-summary.ts';
import { plotLibrary } from './plot-library.ts';
import { type Page, renderPage } from './report-page.ts';
import {
  isRight,
  jointPlots,
  lastIteration,
  type Outline,
  type Plot,
  pretrainingPlots,
  segmentPlot,
  successPlots,
} from './report-plots.ts';
import { shortened } from './shortened.ts';

const notation =
  'The task is a chain of steps on a register modulo 7. In “5 | a +1 | b -1 | >” the register starts at 5; a right response is “a 6 b 5 .”: after each label the register, of which ' +
  'the last decides. The critic replays each step: label, operation, true register, the ' +
  'response’s claim, Y or N; then how many steps are left.';

/**
 * Reads a demo's folder (its runs `critic`, `genac` and, unless it was left out, `group-mean`) and
 * writes `report.html` into it.
 *
 * @returns the page's path
 */
export async function writeReport(folder: string): Promise<string> {
  if (!existsSync(join(folder, 'demo.json')))
    throw new UserError(
      `${folder} is no demo's folder (it has no demo.json): name one that \`genac demo\` wrote`,
    );
  const summary = await summarizeDemo(folder);
  if (summary.genac.length === 0)
    throw new UserError(
      `${folder} holds no joint training with GenAC (genac/metrics.jsonl): run the demo to its end`,
    );
  const outlines = outlinesOf(join(folder, 'genac'));
  const along = segmentPlot(outlines);
  const stage3: Plot[] = [
    ...jointPlots(readMetrics(join(folder, 'genac'))),
    ...(along ? [along] : []),
  ];
  const page = renderPage({
    title: headlineOf(summary),
    headline: [conditions(summary), ...verdict(summary).split('\n')],
    tables: [
      { title: 'Success, and what it costs', rows: outcomeRows(summary) },
      { title: 'Error of the critic against exact values', rows: criticRows(summary) },
    ],
    sections: [
      { title: 'The actor', plots: successPlots(summary.genac, summary.groupMean) },
      {
        title: 'The critic, before it meets the actor',
        plots: pretrainingPlots(readCritic(folder)),
      },
      { title: 'The critic, beside the actor', plots: stage3 },
    ],
    notation,
    responses: withWords(join(folder, 'genac'), chooseResponses(outlines)),
    plotLibrary: plotLibrary(),
  });
  const path = resolve(folder, 'report.html');
  refuseNoFile(path);
  await writeFile(path, page);
  return path;
}

function headlineOf({ genac, groupMean }: DemoSummary): string {
  const change = (points: DemoSummary['genac']) =>
    `from ${(100 * points[0]!.success).toFixed(0)}% to ` +
    `${(100 * points.at(-1)!.success).toFixed(0)}%`;
  const other = groupMean.length > 0 ? `; with the group mean (GRPO) ${change(groupMean)}` : '';
  return `GenAC: the actor’s held-out success went ${change(genac)}${other}`;
}

interface Chosen<T> {
  readonly why: string;
  readonly trajectory: T;
}

/** Reads trajectories without their texts; memory holds the texts of the chosen few only. */
function outlinesOf(run: string): (Outline & { readonly index: number })[] {
  const outlines: (Outline & { readonly index: number })[] = [];
  for (const { iteration, reward, segments } of trajectoriesOf(run)) {
    const values = segments.map(({ value }) => ({ value }));
    outlines.push({ index: outlines.length, iteration, reward, segments: values });
  }
  return outlines;
}

function withWords(run: string, chosen: readonly Chosen<{ index: number }>[]): Page['responses'] {
  const found = new Map<number, RecordedTrajectory>();
  const wanted = new Set(chosen.map(({ trajectory }) => trajectory.index));
  let index = 0;
  for (const trajectory of trajectoriesOf(run)) {
    if (wanted.has(index)) found.set(index, trajectory);
    index++;
  }
  const indices = [...found.keys()];
  const short = shortened([...found.values()]);
  return chosen.map(({ why, trajectory }) => ({
    why,
    trajectory: short[indices.indexOf(trajectory.index)]!,
  }));
}

/**
 * Chooses the first right and wrong response of each third of the iterations, and the two with the
 * largest error of the critic. Never the same one twice.
 */
export function chooseResponses<T extends Outline>(trajectories: readonly T[]): Chosen<T>[] {
  const whole = trajectories.filter((t) => t.segments.length > 0);
  const count = lastIteration(whole) + 1;
  const chosen: Chosen<T>[] = [];
  const add = (why: string, candidates: readonly T[]) => {
    const trajectory = candidates.find((t) => chosen.every((c) => c.trajectory !== t));
    if (trajectory) chosen.push({ why, trajectory });
  };
  ['early', 'middle', 'late'].forEach((when, third) => {
    const of = whole.filter((t) => Math.floor((3 * t.iteration) / count) === third);
    add(when, of.filter(isRight));
    add(
      when,
      of.filter((t) => !isRight(t)),
    );
  });
  const last = (t: Outline) => t.segments.at(-1)!.value;
  const byValue = [...whole].sort((a, b) => last(a) - last(b));
  add('the lowest value before a right ending', byValue.filter(isRight));
  add('the highest value before a wrong ending', byValue.filter((t) => !isRight(t)).reverse());
  return chosen;
}
