/** `genac inspect`: shows what a run did, and the critic's words on its responses. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { refuseNoFile } from '../files/text-file.ts';
import { inspectRun, type Order } from '../reports/inspect.ts';
import { inspectionPage } from '../reports/inspect-page.ts';
import { inspectionText } from '../reports/inspect-text.ts';
import { printableLine } from '../text/printable.ts';
import { UserError } from '../user-error.ts';

export interface InspectFlags {
  readonly iteration?: number;
  readonly best?: boolean;
  readonly worst?: boolean;
  readonly surprising?: boolean;
  readonly malformed?: boolean;
  readonly count: number;
  /** True: `inspect.html` in the run's folder. */
  readonly html?: string | true;
}

export function inspectCommand(
  folder: string,
  { html, best, worst, surprising, ...rest }: InspectFlags,
  out: NodeJS.WriteStream = process.stdout,
): void {
  const orders = Object.entries({ best, worst, surprising }).flatMap(([name, on]) =>
    on ? [name as Order] : [],
  );
  if (orders.length > 1)
    throw new UserError(`--${orders.join(' and --')} are different orders: name one of them`);
  const inspection = inspectRun(folder, { ...rest, ...(orders[0] && { order: orders[0] }) });
  if (html) {
    const path = html === true ? join(folder, 'inspect.html') : html;
    if (html === true) refuseNoFile(path); // a given path may be /dev/stdout
    writeFileSync(path, inspectionPage(inspection));
    out.write(`${printableLine(path)}\n`);
    return;
  }
  // A reader such as `head` may close the pipe early.
  out.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  out.write(inspectionText(inspection, out.isTTY === true && !process.env.NO_COLOR));
}
