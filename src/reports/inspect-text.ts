/** Renders an inspection for the terminal. All text of the run is escaped. */
import { type RecordedSegment, type RecordedTrajectory, wordsOf } from '../run-folder/read.ts';
import { promptText } from '../text/critic-prompt.ts';
import { printable, printableLine } from '../text/printable.ts';
import type { Inspection } from './inspect.ts';

type Paint = (text: string) => string;
const plain: Paint = (text) => text;
const code =
  (open: number, close: number): Paint =>
  (text) =>
    `\u001b[${open}m${text}\u001b[${close}m`;

function painter(colours: boolean) {
  const of = (open: number, close = 39) => (colours ? code(open, close) : plain);
  return { bold: of(1, 22), soft: of(2, 22), good: of(32), bad: of(31), words: of(36) };
}

type Painter = ReturnType<typeof painter>;

export function inspectionText(
  { table, notes, trajectories }: Inspection,
  colours: boolean,
): string {
  const paint = painter(colours);
  const parts = [...tableLines(table, paint), ...notes.map(paint.soft)];
  for (const trajectory of trajectories) parts.push('', ...trajectoryLines(trajectory, paint));
  return `${parts.join('\n')}\n`;
}

function tableLines(table: Inspection['table'], { bold }: Painter): string[] {
  const widths = (table[0] ?? []).map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  return table.map((row, at) => {
    const line = row.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!),
    );
    return (at === 0 ? bold : plain)(line.join('  ').trimEnd());
  });
}

function trajectoryLines(trajectory: RecordedTrajectory, paint: Painter): string[] {
  const { iteration, problem, reward, prompt, segments } = trajectory;
  const outcome = (reward >= 0.5 ? paint.good : paint.bad)(`reward ${reward.toFixed(2)}`);
  return [
    `${paint.bold(`iteration ${iteration}, problem ${printableLine(problem)}`)}  ${outcome}`,
    ...indented(promptText(prompt), '  ').map(paint.soft),
    paint.soft('  value  advantage'),
    ...segments.flatMap((segment) => segmentLines(segment, paint)),
  ];
}

const margin = ' '.repeat(20);

function segmentLines(segment: RecordedSegment, paint: Painter): string[] {
  const { text, value, used_value, advantage } = segment;
  const signed = `${advantage >= 0 ? '+' : '-'}${Math.abs(advantage).toFixed(2)}`;
  const look = signed.endsWith('0.00') ? paint.soft : advantage > 0 ? paint.good : paint.bad;
  const [first = '', ...rest] = indented(text.trim(), margin);
  const gate =
    Math.abs(used_value - value) > 1e-9
      ? `[the gate put ${used_value.toFixed(2)} in this value's place] `
      : '';
  const words = `${gate}${wordsOf(segment)}`.trim();
  return [
    `  ${value.toFixed(2).padStart(5)}  ${look(signed.padStart(9))}  ${first.slice(margin.length)}`,
    ...rest,
    ...(words === '' ? [] : indented(words, `${margin}| `).map(paint.words)),
  ];
}

/** Puts a margin before each line of an escaped text. */
const indented = (text: string, by: string): string[] =>
  printable(text)
    .split('\n')
    .map((line) => `${by}${line}`);
