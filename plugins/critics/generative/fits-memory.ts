/** Whether what a critic will have written about all states of a batch fits in memory. */
import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import { type Sampled, UserError } from '../../../src/plugin-api.ts';

/**
 * Bytes of JavaScript heap for one state besides the critic's text; see docs/bench-controller.md.
 */
const HEAP_PER_STATE = 1300;
const GB = 2 ** 30;

export interface Memory {
  /** Bytes that the JavaScript heap may have. */
  readonly heap: number;
  /** Bytes of the machine. */
  readonly machine: number;
}

/** Bytes of a string: V8 keeps one for each UTF-16 unit where all are below 256, else two. */
const bytesOf = (text: string) => (/[^\0-\xff]/.test(text) ? 2 : 1) * text.length;

/**
 * Refuses a batch that cannot end, before it has taken minutes.
 *
 * @param states of the batch
 * @param sampled completions of its first states
 * @throws Error where as many completions of this size would not fit
 */
export function refuseTooLarge(
  states: number,
  sampled: readonly Pick<Sampled, 'promptIds' | 'completionIds' | 'logprobs' | 'text'>[],
  perState: number,
  memory: Memory = { heap: getHeapStatistics().heap_size_limit, machine: totalmem() },
): void {
  if (sampled.length === 0) return;
  let [text, ids] = [0, 0];
  for (const one of sampled) {
    text += bytesOf(one.text);
    const drawn = one.completionIds.length + one.logprobs.length;
    ids += 4 * (one.promptIds.length / perState + drawn);
  }
  const all = (bytes: number) => (states * perState * bytes) / sampled.length;
  const heap = all(text) + states * HEAP_PER_STATE;
  const whole = heap + all(ids);
  if (heap <= memory.heap && whole <= memory.machine) return;
  const inGb = (bytes: number) => (bytes / GB).toFixed(1);
  const smaller =
    'Lower sampling.batch_size, sampling.num_generations or max_segments of credit.segmentation';
  if (whole > memory.machine)
    throw new UserError(
      `the values of ${states} states need about ${inGb(whole)} GB of memory, and the machine has ` +
        `${inGb(memory.machine)} GB. ${smaller}.`,
    );
  throw new UserError(
    `the values of ${states} states need about ${inGb(heap)} GB of JavaScript heap, and Node may use ` +
      `${inGb(memory.heap)} GB. ${smaller}, or set NODE_OPTIONS=--max-old-space-size=` +
      `${Math.ceil((1.5 * heap) / 2 ** 20)}.`,
  );
}
