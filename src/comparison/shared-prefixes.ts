/** Tokens that a model reads, with and without a cache of prefixes that its prompts share. */

/**
 * Tokens of a tree that holds all sequences, each shared beginning once: what is read if nothing is
 * read twice.
 */
export function distinctPrefixTokens(sequences: readonly Int32Array[]): number {
  const sorted = [...sequences].sort(compared);
  let tokens = 0;
  for (const [i, sequence] of sorted.entries())
    tokens += sequence.length - (i === 0 ? 0 : sharedLength(sorted[i - 1]!, sequence));
  return tokens;
}

function sharedLength(a: Int32Array, b: Int32Array): number {
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
}

function compared(a: Int32Array, b: Int32Array): number {
  const shared = sharedLength(a, b);
  if (shared === a.length || shared === b.length) return a.length - b.length;
  return a[shared]! - b[shared]!;
}
