/**
 * What a config may hold: a tree of plain values, of which every part can be written down and used.
 */

/** Deeper than any option. */
const DEEPEST = 64;
/** Largest and smallest magnitudes of float32, in which workers compute. */
const LARGEST = 3e38;
const SMALLEST = 1e-37;

/** What makes a value unusable wherever it stands, with its path; null: nothing does. */
export function unusableIn(value: unknown): string | null {
  return faultOf(value, [], new Set());
}

/** @param known objects that are fine: an alias stands for one that may be found many times */
function faultOf(value: unknown, path: readonly string[], known: Set<object>): string | null {
  const say = (words: string) => `${path.join('.') || 'the config'}: ${words}`;
  if (typeof value === 'string')
    return value.includes('\0') ? say('holds a NUL character: take it out') : null;
  if (typeof value === 'number') {
    const size = Math.abs(value);
    const fits = size === 0 || (size >= SMALLEST && size <= LARGEST);
    // What is no finite number is refused by the option, which says what it takes.
    return fits || !Number.isFinite(value)
      ? null
      : say(`${value}: is beyond what models compute with (1e-37 to 3e38, or 0)`);
  }
  if (value === null || typeof value !== 'object' || known.has(value)) return null;
  if (path.length >= DEEPEST) {
    const start = path.slice(0, 3).join('.');
    return (
      `${start}...: values lie more than ${DEEPEST} deep within each other, or within ` +
      'themselves (an alias)'
    );
  }
  for (const [name, inner] of Object.entries(value)) {
    if (name.includes('\0'))
      return say(`the name ${JSON.stringify(name)} holds a NUL character: take it out`);
    const fault = faultOf(inner, [...path, name], known);
    if (fault !== null) return fault;
  }
  known.add(value);
  return null;
}
