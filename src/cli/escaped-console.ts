/**
 * What the command says by `console`: text of others (errors, names, files) can't steer the
 * terminal.
 */
import { inspect } from 'node:util';
import { printable } from '../text/printable.ts';

/**
 * Escapes all that is printed from here on, also of an error that nobody caught, which Node would
 * print as it is. JSON stays the same JSON: in its texts an escape stands for the character.
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
