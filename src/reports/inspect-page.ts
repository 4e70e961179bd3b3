/** Renders an inspection as one self-contained HTML page. */
import { printableLine } from '../text/printable.ts';
import type { Inspection } from './inspect.ts';
import { contentPolicy, escapeHtml, responseOf, tableOf } from './report-page.ts';
import { reportStyle } from './report-style.ts';

export function inspectionPage({ folder, table, notes, trajectories }: Inspection): string {
  const title = escapeHtml(`GenAC run ${printableLine(folder)}`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${contentPolicy()}
<title>${title}</title>
<style>${reportStyle}</style>
</head>
<body><main>
<h1>${title}</h1>
<h2>Iterations</h2>
${table.length > 0 ? tableOf(table) : ''}
${notes.map((note) => `<p class="soft">${escapeHtml(note)}</p>`).join('\n')}
${trajectories.length > 0 ? '<h2>Responses</h2>\n<p>Each row is a segment of the response: the critic’s value before it (0 to 1), the advantage that the actor was given for it (before scaling), and the critic’s words.</p>' : ''}
${trajectories.map((t) => responseOf({ why: `reward ${t.reward.toFixed(2)}, problem ${t.problem}`, trajectory: t })).join('\n')}
</main></body></html>
`;
}
