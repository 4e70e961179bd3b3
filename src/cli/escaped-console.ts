/**
 * Escapes the command's output, so that text from others (errors, names, files) can't steer the
 * terminal.
 */
import { inspect } from 'node:util';
import { printable } from '../text/printable.ts';

/**
 * Escapes all output from here on, also an uncaught error, which Node would print unchanged. JSON
 * stays equivalent, because an escape in its texts means the same character.
 */
export function escapeConsole(): void {
  for (const name of ['log', 'error', 'warn'] as const) {
    const print = console[name].bind(console);
    console[name] = (...values: unknown[]) =>
      print(
        ...values.map((value) => printable(typeof value === 'string' ? value : inspect(value))),
      );
  }
  process.on('uncaughtException', (error) => {
    console.error(error);
    process.exit(1);
  });
}
