/** An inspection as one HTML page that needs nothing but itself. */
import type { RecordedTrajectory } from '../runs/read.ts';
import { promptText } from '../text/critic-prompt.ts';
import { printable, printableLine } from '../text/printable.ts';
import type { Inspection } from './inspect.ts';
import { escapeHtml, responseOf, tableOf } from './report-page.ts';
import { reportStyle } from './report-style.ts';

export function inspectionPage({ folder, table, notes, trajectories }: Inspection): string {
  const title = escapeHtml(`GenAC run ${printableLine(folder)}`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${reportStyle}</style>
</head>
<body><main>
<h1>${title}</h1>
<h2>Iterations</h2>
${table.length > 0 ? tableOf(table) : ''}
${notes.map((note) => `<p class="soft">${escapeHtml(note)}</p>`).join('\n')}
${trajectories.length > 0 ? '<h2>Responses</h2>\n<p>Each row is a segment of the response: the critic’s value before it (0 to 1), the advantage that the actor was given for it (before scaling), and the critic’s words.</p>' : ''}
${trajectories.map((t) => responseOf({ why: `reward ${t.reward.toFixed(2)}, problem ${printableLine(t.problem)}`, trajectory: visible(t) })).join('\n')}
</main></body></html>
`;
}

/** Hidden characters shown as escapes. */
const visible = (t: RecordedTrajectory): RecordedTrajectory => ({
  ...t,
  prompt: printable(promptText(t.prompt)),
  segments: t.segments.map((s) => ({
    ...s,
    text: printable(s.text),
    rationale: printable(s.rationale),
  })),
});
