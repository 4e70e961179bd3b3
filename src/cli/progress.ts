/** Live progress of a run: one line that is renewed on a terminal, plain lines elsewhere. */
import type { RunEvent } from '../run-folder/events.ts';
import { printable, printableLine } from '../text/printable.ts';

export const stageTitles = {
  'critic-sft': 'stage 1, critic imitates',
  'critic-rl': 'stage 2, critic learns',
  joint: 'stage 3, joint',
};

interface Seen {
  stage: keyof typeof stageTitles;
  iterations: number;
  iteration: number;
  /** Iterations done before this process began. */
  from: number;
  phase: string;
  began: number;
  tokens: number;
  figures: Record<string, number>;
}

/** The metrics on the line, and their labels. */
export const shownMetrics: Readonly<Record<string, string>> = {
  reward: 'reward',
  'evaluation/success': 'success',
  'critic/heldout_mse': 'critic mse',
  'critic/rationale_loss': 'rationale loss',
  'critic/loss': 'loss',
  'critic/reward': 'critic reward',
  'critic/parse_rate': 'parse rate',
};

/** Passes the events on, and prints them with `label` before each line. */
export async function* showProgress(
  events: AsyncIterable<RunEvent>,
  label = '',
  out: NodeJS.WriteStream = process.stderr,
): AsyncGenerator<RunEvent> {
  const live = out.isTTY && process.env.TERM !== 'dumb';
  let seen = null as Seen | null;
  let lastPlain = 0;
  const prefix = label ? `${label}: ` : '';
  // Lines contain text from others: messages of a task, phases, names and paths.
  const print = (line: string) => {
    const text = printable(`${prefix}${line}`);
    out.write(live ? `\r\u001b[2K${text}\n` : `${text}\n`);
  };
  const renew = () => {
    if (live && seen)
      out.write(
        `\r\u001b[2K${printableLine(`${prefix}${statusLine(seen, performance.now())}`)}`.slice(
          0,
          2 * (out.columns ?? 80),
        ),
      );
  };
  for await (const event of events) {
    switch (event.type) {
      case 'message':
        print(event.text);
        break;
      case 'checkpoint':
        print(`checkpoint: ${event.path}`);
        break;
      case 'stage':
        seen = {
          stage: event.stage,
          iterations: event.iterations,
          iteration: event.from,
          from: event.from,
          phase: 'start',
          began: performance.now(),
          tokens: 0,
          figures: {},
        };
        print(
          `${stageTitles[event.stage]}: up to ${event.iterations} iterations${event.from > 0 ? `, from ${event.from} on` : ''}`,
        );
        break;
      case 'paused':
      case 'resumed':
        print(`${event.type} before iteration ${event.iteration}`);
        break;
      case 'set': {
        const values = Object.entries(event.values).map(([name, value]) => `${name} = ${value}`);
        print(`from iteration ${event.iteration} on: ${values.join(', ')}`);
        break;
      }
      case 'phase':
        if (seen) seen = { ...seen, phase: event.phase, iteration: event.iteration };
        break;
      case 'progress': {
        if (!seen) break;
        const cost = event.metrics['oracle/cost'];
        const dollars = cost === undefined ? '' : `, ${cost.toFixed(4)} dollars`;
        seen = { ...seen, phase: `${event.done}/${event.total} answers${dollars}` };
        const due = event.done === event.total || performance.now() - lastPlain > 10_000;
        if (!live && due) {
          lastPlain = performance.now();
          print(statusLine(seen, lastPlain));
        }
        break;
      }
      case 'iteration':
      case 'evaluation': {
        if (!seen) break;
        const tokens =
          event.type === 'iteration'
            ? (event.metrics['actor/tokens'] ?? event.metrics['critic/tokens'] ?? 0)
            : 0;
        seen = {
          ...seen,
          iteration: event.iteration + (event.type === 'iteration' ? 1 : 0),
          tokens: seen.tokens + tokens,
          figures: { ...seen.figures, ...event.metrics },
        };
        const due = event.type === 'evaluation' || performance.now() - lastPlain > 10_000;
        if (!live && due) {
          lastPlain = performance.now();
          print(statusLine(seen, lastPlain));
        }
        break;
      }
      case 'end':
        if (live) out.write('\r\u001b[2K');
        break;
    }
    renew();
    yield event;
  }
}

/**
 * `stage 3, joint 12/80 [value] reward 0.31 success 0.28 critic mse 0.041 1.2 s/it, 3.4k tokens/s,
 * 81 s left`.
 */
export function statusLine(seen: Seen, now: number): string {
  const seconds = (now - seen.began) / 1000;
  const figures = Object.entries(shownMetrics).flatMap(([name, words]) =>
    seen.figures[name] === undefined ? [] : [`${words} ${seen.figures[name].toFixed(3)}`],
  );
  const done = seen.iteration - seen.from;
  const each = done > 0 ? seconds / done : 0;
  const rates =
    each > 0
      ? `${each.toFixed(2)} s/it, ${(seen.tokens / seconds / 1000).toFixed(1)}k tokens/s, ` +
        `${Math.ceil(each * (seen.iterations - seen.iteration))} s left at most`
      : '';
  return [
    `${stageTitles[seen.stage]} ${seen.iteration}/${seen.iterations}`,
    `[${seen.phase}]`,
    ...figures,
    rates,
  ]
    .filter(Boolean)
    .join('  ');
}
