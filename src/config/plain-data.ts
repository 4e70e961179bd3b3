/** Checks that a config is a tree of plain values that can be written and used. */

/** More levels than any option has. */
const DEEPEST = 64;
/** Largest and smallest magnitudes of float32, in which workers compute. */
const LARGEST = 3e38;
const SMALLEST = 1e-37;

/** Returns the path and fault of the first value that no option can use; null: there is none. */
export function unusableIn(value: unknown): string | null {
  return faultOf(value, [], new Set());
}

/**
 * @param known objects without a fault, because an alias may occur many times
 */
function faultOf(value: unknown, path: readonly string[], known: Set<object>): string | null {
  const say = (words: string) => `${path.join('.') || 'the config'}: ${words}`;
  if (typeof value === 'string')
    return value.includes('\0') ? say('holds a NUL character: take it out') : null;
  if (typeof value === 'number') {
    const size = Math.abs(value);
    const fits = size === 0 || (size >= SMALLEST && size <= LARGEST);
    // The option itself refuses a number that is not finite, and says what it allows.
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
