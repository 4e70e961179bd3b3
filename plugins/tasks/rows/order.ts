/**
 * Which problem comes when, of a set whose size is known; and which problems are held out. Both
 * depend on seeds and contents alone.
 */
import { createHash } from 'node:crypto';
import { deriveSeed, Random } from '../../../src/plugin-api.ts';

/**
 * Problem number n lies in epoch floor(n / size). Each epoch is a permutation of its own of all
 * problems, drawn from (run seed, purpose, epoch): every problem comes once in each epoch, and any
 * stretch of numbers can be asked for without those before it.
 */
export class ProblemOrder {
  readonly #size: number;
  readonly #purpose: string;
  /**
   * The last two epochs that were asked for: a stretch of numbers may begin in one and end in the
   * next.
   */
  readonly #known = new Map<string, Uint32Array>();

  /** @param size at least 1 */
  constructor(size: number, purpose: string) {
    if (!(Number.isSafeInteger(size) && size > 0))
      throw new RangeError(`a set of ${size} problems has no order`);
    this.#size = size;
    this.#purpose = purpose;
  }

  /** Indices in [0, size) of problems number `from` .. `from + count - 1`. */
  indices(seed: number, from: number, count: number): number[] {
    return Array.from({ length: count }, (_, i) => {
      const number = from + i;
      return this.#epoch(seed, Math.floor(number / this.#size))[number % this.#size]!;
    });
  }

  #epoch(seed: number, epoch: number): Uint32Array {
    const key = `${seed} ${epoch}`;
    const known = this.#known.get(key);
    if (known) return known;
    const made = permutation(
      this.#size,
      new Random(deriveSeed(seed, `order/${this.#purpose}`, epoch)),
    );
    const [oldest] = this.#known.keys();
    if (this.#known.size > 1) this.#known.delete(oldest!);
    this.#known.set(key, made);
    return made;
  }
}

/** 0 .. size - 1 in random order (Fisher-Yates), four bytes each. */
function permutation(size: number, random: Random): Uint32Array {
  const order = Uint32Array.from({ length: size }, (_, i) => i);
  for (let i = size - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/**
 * A number in [0, 1) that depends on a problem's key (its prompt) and the split's seed alone: below
 * the share, it is held out.
 */
export function placeOf(key: string, seed: number): number {
  return createHash('sha256').update(`${seed}\n${key}`).digest().readUIntBE(0, 6) / 2 ** 48;
}

/**
 * Which of these keys are held out: the share of the *different* keys with the lowest places (at
 * least one, and never all), so that equal prompts lie on the same side, and lines that are added
 * later hardly move the others.
 *
 * @param share in (0, 1)
 */
export function heldOutKeys(keys: Iterable<string>, share: number, seed: number): Set<string> {
  const ranked = [...new Set(keys)].map((key) => ({ key, place: placeOf(key, seed) }));
  if (ranked.length < 2)
    throw new RangeError(`${ranked.length} different prompts can't be split in two`);
  ranked.sort((a, b) => a.place - b.place || (a.key < b.key ? -1 : 1));
  const count = Math.min(ranked.length - 1, Math.max(1, Math.round(share * ranked.length)));
  return new Set(ranked.slice(0, count).map(({ key }) => key));
}
