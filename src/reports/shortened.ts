/**
 * Cuts responses that are too long to show, with a mark that says so: a terminal or a page can't
 * hold 200 MB.
 */
import type { RecordedSegment, RecordedTrajectory } from '../run-folder/read.ts';
import { promptText } from '../text/critic-prompt.ts';
import { shortText } from '../text/printable.ts';

/**
 * UTF-16 units of one text, and of all shown texts: an escape is six times as long, and a string
 * has less than 2^29.
 */
const LONGEST = 200_000;
const ALL = 60_000_000;
/** UTF-16 units of markup around a segment. */
const AROUND = 500;

/**
 * Returns the same responses, with each text cut to 200,000 characters, and all texts to a total.
 */
export function shortened(
  trajectories: readonly RecordedTrajectory[],
  all = ALL,
): RecordedTrajectory[] {
  let left = all;
  const cut = (text: string): string => {
    const length = Math.max(0, Math.min(text.length, LONGEST, left));
    left -= length;
    return shortText(text, length);
  };
  return trajectories.map((t) => {
    const segments: RecordedSegment[] = [];
    const { problem, prompt } = { problem: cut(t.problem), prompt: cut(promptText(t.prompt)) };
    for (const segment of t.segments) {
      if (left <= 0) break;
      left -= AROUND;
      segments.push({ ...segment, text: cut(segment.text), rationale: cut(segment.rationale) });
    }
    const more = t.segments.length - segments.length;
    if (more > 0) {
      // Of none that fits, the first is there without its words.
      const last = segments.pop() ?? { ...t.segments[0]!, text: '', rationale: '' };
      segments.push({ ...last, rationale: `${last.rationale}\n[... ${more} more segments]` });
    }
    return { ...t, problem, prompt, segments };
  });
}
