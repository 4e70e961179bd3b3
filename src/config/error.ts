/**
 * The error for a bad config: path, value, what is allowed, and the nearest name for a misspelt
 * key.
 */
import type { z } from 'zod';
import { UserError } from '../user-error.ts';
import { hideSecrets } from './secrets.ts';

export class ConfigError extends UserError {
  readonly problems: readonly string[];

  constructor(problems: readonly string[], source?: string, heading = 'the config is not valid') {
    super(
      `${source ? `${source}: ` : ''}${heading}\n${problems.map((problem) => `  ${problem}`).join('\n')}`,
    );
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/** An error in a user's data, while the config that names it is correct. */
export class DataError extends ConfigError {
  constructor(problems: readonly string[], source?: string) {
    super(problems, source, "the data can't be used");
    this.name = 'DataError';
  }
}

/** Describes zod's issues: `actor.learning_rate: "fast": expected number`. */
export function issuesOf(
  error: z.ZodError,
  schema: z.ZodType,
  input: unknown,
  prefix = '',
): string[] {
  return error.issues.flatMap(meant).map((issue) => {
    const path = [...(prefix ? [prefix] : []), ...issue.path].join('.');
    if (issue.code === 'unrecognized_keys') {
      const allowed = keysAt(schema, issue.path);
      return issue.keys
        .map((key) => {
          const close = nearest(key, allowed);
          const hint = close ? `did you mean "${close}"?` : `allowed: ${allowed.join(', ')}`;
          const name = [path, key].filter(Boolean).join('.').slice(0, LONGEST_SHOWN);
          return `${name}: no such option; ${hint}`;
        })
        .join('\n  ');
    }
    if (issue.code === 'invalid_key')
      return `${path}: ${issue.issues.map(({ message }) => message).join('; ')}`;
    const value = valueAt(input, issue.path);
    const given = value === undefined ? 'missing' : shownValue(issue.path, value);
    const options = issue.code === 'invalid_value' ? issue.values : [];
    const close = typeof value === 'string' ? nearest(value, options.map(String)) : null;
    const isText = options.some((option) => option === close);
    const written = isText ? `"${close}"` : `${close}, without quotes`;
    const hint = close ? `; did you mean ${written}?` : '';
    return `${path ? `${path}: ` : ''}${given}: ${issue.message}${hint}`;
  });
}

/**
 * For a union, returns the issues of the one option whose kind of value was given, if there is one;
 * the issues of the others are irrelevant.
 */
function meant(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const close = issue.errors.filter(
    (issues) => !issues.some(({ code, path }) => code === 'invalid_type' && path.length === 0),
  );
  if (close.length !== 1) return [issue];
  return close[0]!
    .map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }))
    .flatMap(meant);
}

const hidden = (path: readonly PropertyKey[], value: unknown) =>
  hideSecrets(String(path.at(-1) ?? ''), value);

/** The value as JSON, shortened, because a config may hold a very long text by mistake. */
function shownValue(path: readonly PropertyKey[], value: unknown): string {
  const json = JSON.stringify(hidden(path, value), hideSecrets) ?? String(value);
  return json.length > LONGEST_SHOWN ? `${json.slice(0, LONGEST_SHOWN)}...` : json;
}

const LONGEST_SHOWN = 500;

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key],
    input,
  );
}

/** Returns the names of an object schema's keys at a path, through defaults and nullables. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let current: unknown = unwrap(schema);
  for (const key of path) {
    const shape = (current as { shape?: Record<PropertyKey, z.ZodType> }).shape;
    const valueType = (current as { valueType?: z.ZodType }).valueType;
    const element = (current as { element?: z.ZodType }).element;
    const next = shape?.[key] ?? valueType ?? element;
    if (!next) return [];
    current = unwrap(next);
  }
  return Object.keys((current as { shape?: object }).shape ?? {});
}

function unwrap(schema: unknown): unknown {
  let current = schema as { def?: { innerType?: unknown; in?: unknown; options?: unknown[] } };
  for (;;) {
    const { innerType, in: input, options } = current?.def ?? {};
    const next =
      innerType ?? input ?? options?.find((option) => 'shape' in (unwrap(option) as object));
    if (!next) return current;
    current = next as typeof current;
  }
}

/**
 * Returns the allowed name within an edit distance of a third of its length (at least 2); null:
 * none.
 */
export function nearest(name: string, allowed: readonly string[]): string | null {
  if (name.length > LONGEST_SHOWN) return null;
  const ranked = allowed
    .map((candidate) => ({
      candidate,
      distance: editDistance(name.toLowerCase(), candidate.toLowerCase()),
    }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(2, Math.floor(best.candidate.length / 3))
    ? best.candidate
    : null;
}

/** The Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(
        Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    }
    row = next;
  }
  return row[b.length]!;
}
