/**
 * Responses that are too long to show are cut, with a mark that says so: a terminal and a page hold
 * no 200 MB.
 */
import type { RecordedSegment, RecordedTrajectory } from '../run-folder/read.ts';
import { promptText } from '../text/critic-prompt.ts';
import { shortText } from '../text/printable.ts';

/**
 * UTF-16 units of one text, and of all that is shown: an escape is six times as long, and no string
 * has 2^29.
 */
const LONGEST = 200_000;
const ALL = 60_000_000;
/** What stands around a segment. */
const AROUND = 500;

/** The same responses, each text of at most 200,000 characters, and so many in all. */
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
    const last = segments.at(-1);
    if (more > 0 && last)
      segments[segments.length - 1] = {
        ...last,
        rationale: `${last.rationale}\n[... ${more} more segments]`,
      };
    return { ...t, problem, prompt, segments };
  });
}
