/**
 * Writes the wire's JSON Schema for both sides; with `--check` only says whether it is up to date.
 * Run by `npm run generate` and `npm run check`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { hostOperations, reverseOperations } from './host-operations.ts';
import { anyMessage, PROTOCOL_VERSION } from './messages.ts';
import { operations } from './operations.ts';
import { hashOf, schemaPaths } from './schema.ts';

/** JSON with sorted keys and a fixed indentation, so that equal schemas are equal bytes. */
function canonical(value: unknown): string {
  const sorted = (_key: string, item: unknown): unknown =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item;
  return `${JSON.stringify(value, sorted, 1)}\n`;
}

const schemasOf = (all: Readonly<Record<string, { arguments: z.ZodType; result: z.ZodType }>>) =>
  Object.fromEntries(
    Object.entries(all).map(([name, operation]) => [
      name,
      { arguments: z.toJSONSchema(operation.arguments), result: z.toJSONSchema(operation.result) },
    ]),
  );

const schema = canonical({
  protocol: PROTOCOL_VERSION,
  message: z.toJSONSchema(anyMessage),
  operations: schemasOf(operations),
  host_operations: schemasOf(hostOperations),
  reverse_operations: schemasOf(reverseOperations),
});

function current(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

const stale = schemaPaths.filter((path) => current(path) !== schema);
if (process.argv.includes('--check')) {
  if (stale.length > 0) {
    console.error(
      `The wire's schema is out of date (${stale.join(', ')}): run \`npm run generate\` and commit the files.`,
    );
    process.exitCode = 1;
  }
} else {
  for (const path of stale) writeFileSync(path, schema);
  console.log(
    `schema ${hashOf(schema)}${stale.length > 0 ? `, written to ${stale.join(', ')}` : ', up to date'}`,
  );
}
