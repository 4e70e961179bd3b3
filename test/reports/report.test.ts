import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { demoTable, summarizeDemo } from '../../src/reports/demo-summary.ts';
import { chooseResponses, writeReport } from '../../src/reports/report.ts';
import { scriptJson } from '../../src/reports/report-page.ts';
import { jointPlots, pretrainingPlots, segmentPlot } from '../../src/reports/report-plots.ts';
import type { MetricsLine, RecordedTrajectory } from '../../src/run-folder/read.ts';
import { critic, genac, trajectories, writeDemo } from './demo-folder.ts';

const recorded = trajectories as unknown as RecordedTrajectory[];
const pointsOf = (plots: ReturnType<typeof jointPlots>, title: string) =>
  Object.fromEntries(
    plots.find((plot) => plot.title.startsWith(title))!.series.map((s) => [s.label, s.points]),
  );

describe('the page', () => {
  let folder: string;
  let html: string;
  beforeAll(async () => {
    folder = writeDemo();
    const path = await writeReport(folder);
    expect(path).toBe(join(folder, 'report.html'));
    html = readFileSync(path, 'utf8');
  });

  it('has every figure of the table', async () => {
    const figures = demoTable(await summarizeDemo(folder)).match(/\d+\.\d+%|0\.\d{4}/g)!;
    expect(figures.length).toBeGreaterThan(10);
    for (const figure of figures) expect(html).toContain(`>${figure}<`);
    expect(html).toContain('from 20% to 75%; with the group mean (GRPO) from 20% to 50%');
  });

  it('asks the network for nothing', () => {
    expect(html).not.toMatch(/(?:src|href)\s*=/i);
    expect(html).not.toMatch(/@import|url\(/i);
    expect(html).toContain("default-src 'none'");
  });

  it('shows what runs wrote as text, never as HTML', () => {
    expect(html).toContain('a 3&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;');
    expect(html).toContain('a +1 2 3 N &lt;b&gt;left&lt;/b&gt; &amp; &quot;0&quot;');
    expect(html).not.toContain('alert(1)</script>');
    // The library's and the page's own, and no other.
    expect(html.match(/<script>/g)).toHaveLength(2);
    expect(html.match(/<\/script/g)).toHaveLength(2);
  });

  it('lets its own two scripts run, and no other, also where one would be put in', () => {
    const scripts = [...html.matchAll(/<script>([\s\S]*?)<\/script>/g)].map(
      ([, script]) => script!,
    );
    const digests = scripts.map(
      (s) => `'sha256-${createHash('sha256').update(s).digest('base64')}'`,
    );
    const [, policy] = /Content-Security-Policy" content="([^"]*)"/.exec(html)!;
    expect(policy).toContain(`script-src ${digests.join(' ')};`);
    expect(policy).not.toMatch(/script-src[^;]*unsafe/);
    for (const rule of ["base-uri 'none'", "form-action 'none'"]) expect(policy).toContain(rule);
  });

  it('shows value, advantage and where the gate replaced the values', () => {
    expect(html).toContain('<i style="width:90.0%"></i><b>0.90</b>');
    expect(html).toContain('<span class="advantage wrong">−0.50</span>');
    expect(html).toContain('<span class="advantage right">+0.80</span>');
    expect(html).toContain('the gate put the group mean, 0.50, in the place of these values');
  });

  it('plots data that a browser can parse', () => {
    const json = /const plots = (\[.*\]);\n/.exec(html)![1]!;
    const plots = JSON.parse(json) as { xs: number[]; columns: (number | null)[][] }[];
    expect(plots[0]).toMatchObject({
      xs: [0, 1, 2, 3],
      columns: [
        [0.2, 0.4, 0.75, null],
        [0.2, 0.25, 0.3, 0.5],
      ],
    });
    for (const { xs, columns } of plots)
      for (const column of columns) expect(column).toHaveLength(xs.length);
  });
});

it('no text ends a script element', () => {
  const text = 'a</script><!-- <script>';
  expect(scriptJson(text)).not.toContain('<');
  expect(JSON.parse(scriptJson(text))).toBe(text);
});

describe('plots', () => {
  it('joins stages 1 and 2: the end of stage 1 is update 0', () => {
    const plots = pretrainingPlots(critic as MetricsLine[]);
    expect(pointsOf(plots, 'Stage 1')).toEqual({ 'held-out rationales': [[50, 0.5]] });
    expect(pointsOf(plots, 'Stage 2')).toEqual({
      critic: [
        [0, 0.09],
        [10, 0.04],
        [20, 0.05],
      ],
      'best constant': [
        [0, 0.16],
        [10, 0.16],
        [20, 0.16],
      ],
    });
  });

  it('follows the critic along stage 3, and counts where the gate closed', () => {
    const plots = jointPlots(genac as MetricsLine[]);
    expect(pointsOf(plots, 'Stage 3: error').critic).toEqual([
      [0, 0.03],
      [1, 0.02],
      [2, 0.01],
    ]);
    expect(pointsOf(plots, 'Stage 3: value')['right, last']).toEqual([
      [0, 0.6],
      [1, 0.8],
    ]);
    expect(plots[1]!.caption).toContain('in 1 iteration the gate');
  });

  it('averages values by segment over the second half', () => {
    const plot = segmentPlot(recorded)!;
    // Iteration 0 is in the first half; (0.6 + 0.4) / 2 and (0.8 + 0.2) / 2.
    expect(plot.series[0]!.points).toEqual([
      [1, 0.5],
      [2, 0.5],
    ]);
    expect(plot.series[1]!.points).toEqual([]);
    expect(plot.caption).toContain('2 right and 0 wrong');
    expect(segmentPlot([])).toBeNull();
  });
});

it('responses: the first of each third and outcome, then the ones that surprised, none twice', () => {
  const chosen = chooseResponses(recorded).map(({ why, trajectory }) => [why, trajectory.problem]);
  expect(chosen).toEqual([
    ['early', 'p0'],
    ['middle', 'p1'],
    ['the lowest value before a right ending', 'p2'],
  ]);
});

describe('a folder that lacks something is one clear error', () => {
  it.each([
    ['no demo.json', { demo: null }, 'has no demo.json'],
    ['no critic', { critic: null }, 'holds no finished critic'],
    ['no joint training', { genac: null }, 'holds no joint training'],
  ])('%s', async (_, parts, words) => {
    const folder = writeDemo(parts);
    await expect(writeReport(folder)).rejects.toThrow(words);
    expect(existsSync(join(folder, 'report.html'))).toBe(false);
  });

  it('but the group mean may be left out', async () => {
    const html = readFileSync(await writeReport(writeDemo({ groupMean: null })), 'utf8');
    expect(html).toContain('There is no group mean to compare with.');
  });
});

describe('hostile files', () => {
  const hostile = '<img src=x onerror=alert(1)>\u001b]0;owned\u0007\u202e';

  it('have their words shown as text, hidden characters as escapes', async () => {
    const folder = writeDemo();
    const whole = { ...trajectories[0], iteration: 2, prompt: hostile, problem: hostile };
    const segments = [
      { ...(trajectories[0]!.segments as object[])[0], text: hostile, rationale: hostile },
    ];
    appendFileSync(
      join(folder, 'genac/trajectories.jsonl'),
      `${JSON.stringify({ ...whole, segments })}\n`,
    );
    const line = { ...genac.at(-1), [hostile]: hostile, 'critic/heldout_mse': hostile };
    appendFileSync(join(folder, 'genac/metrics.jsonl'), `${JSON.stringify(line)}\n`);
    const html = readFileSync(await writeReport(folder), 'utf8');
    expect(html).toContain('&lt;img src=x onerror=alert(1)&gt;\\u001b]0;owned\\u0007\\u202e');
    expect(html).not.toContain('<img');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
    expect(html).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
  });

  it.each(['iteration', 'stage', 'type', 'seconds'])(
    'with another kind of %s are refused',
    async (name) => {
      const folder = writeDemo();
      const file = join(folder, 'genac/metrics.jsonl');
      appendFileSync(file, `${JSON.stringify({ ...genac[1], [name]: hostile })}\n`);
      await expect(writeReport(folder)).rejects.toThrow(
        `${file}, line ${genac.length + 1} is not a line of`,
      );
    },
  );

  it.each(['[]', '{"seed":"<b>"}', '{', ''])('demo.json %j is refused', async (text) => {
    const folder = writeDemo();
    writeFileSync(join(folder, 'demo.json'), text);
    await expect(writeReport(folder)).rejects.toThrow(
      /demo\.json can't be used: .* Run the demo again/,
    );
  });

  it('with more lines than a call may have arguments are read', async () => {
    const folder = writeDemo();
    const line = `${JSON.stringify({ ...trajectories[1], prompt: '' })}\n`;
    appendFileSync(join(folder, 'genac/trajectories.jsonl'), line.repeat(130_000));
    expect(readFileSync(await writeReport(folder), 'utf8')).toContain('130002 right');
  });
});
