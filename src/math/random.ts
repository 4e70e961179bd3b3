/**
 * Random draws that depend on (run seed, purpose, indices) only, so that a resumed run, another
 * schedule or another number of workers draws the same numbers.
 */

/** A 64-bit seed as two unsigned 32-bit words, low word first. */
export type Seed = readonly [number, number];

function mix(hash: number): number {
  // The finaliser of MurmurHash3 (public domain, Austin Appleby).
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * Returns the seed of one draw. `purpose` names the draw; `indices` (integers) number it, such as
 * iteration and sequence.
 */
export function deriveSeed(runSeed: number, purpose: string, ...indices: readonly number[]): Seed {
  let low = mix(runSeed >>> 0);
  let high = mix((Math.floor(runSeed / 2 ** 32) >>> 0) ^ 0x9e3779b9);
  // Absorbs the units, the number of indices (so that ('a', 1) and ('a', ...) of another length
  // part), and two words for each index. A loop: a closure would box both words at every unit.
  const { length } = purpose;
  for (let i = 0; i <= length + 2 * indices.length; i++) {
    let word: number;
    if (i < length) word = purpose.charCodeAt(i);
    else if (i === length) word = 0x10000 + indices.length;
    else {
      const index = indices[(i - length - 1) >> 1]!;
      word = (i - length) % 2 === 1 ? index >>> 0 : Math.floor(index / 2 ** 32) >>> 0;
    }
    low = mix(Math.imul(low, 31) + word + 0x7f4a7c15);
    high = mix((Math.imul(high, 37) ^ word) + low);
  }
  return [low, high];
}

/** A small generator (sfc32, by Chris Doty-Humphrey, public domain) for one purpose. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: Seed) {
    [this.#a, this.#b] = [seed[0] | 0, seed[1] | 0];
    this.#c = mix(seed[0] ^ seed[1]) | 0;
    for (let i = 0; i < 12; i++) this.#next();
  }

  #next(): number {
    const result = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** In [0, 1), 53 bits. */
  uniform(): number {
    return ((this.#next() >>> 5) * 2 ** 26 + (this.#next() >>> 6)) / 2 ** 53;
  }

  /** An integer in [0, bound). */
  integer(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Mean 0, standard deviation 1 (Box-Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Draws an index with these weights (nonnegative, not all zero). */
  weighted(weights: ArrayLike<number>): number {
    let total = 0;
    for (let i = 0; i < weights.length; i++) total += weights[i]!;
    let rest = this.uniform() * total;
    let last = 0;
    for (let i = 0; i < weights.length; i++) {
      if (weights[i]! <= 0) continue;
      last = i;
      rest -= weights[i]!;
      if (rest < 0) return i;
    }
    return last;
  }

  /** Returns a new array in random order (Fisher-Yates). */
  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [result[i], result[j]] = [result[j]!, result[i]!];
    }
    return result;
  }
}

/** Returns the seeds of sequences 0..count-1 in the form of `sample`: uint32 [count, 2]. */
export function sequenceSeeds(count: number, seedOf: (index: number) => Seed): Uint32Array {
  const seeds = new Uint32Array(2 * count);
  for (let i = 0; i < count; i++) [seeds[2 * i], seeds[2 * i + 1]] = seedOf(i);
  return seeds;
}
