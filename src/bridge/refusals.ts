/** Refuses unknown peers with few log lines and few answers. */
const IN_WORDS = 5;
const ANSWERS = 4;
const REMEMBERED = 10_000;

export class Refusals {
  readonly #log: (line: string) => void;
  readonly #answered = new Map<string, number>();
  #count = 0;
  #next = 2 * IN_WORDS;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** Says it to the log: the first few, then whenever their number has doubled. */
  say(line: string): void {
    this.#count += 1;
    if (this.#count <= IN_WORDS) this.#log(line);
    else if (this.#count >= this.#next) {
      this.#next *= 2;
      this.#log(`${line} (${this.#count} refusals so far; the next is said after as many again)`);
    }
  }

  /** Returns whether a stranger gets another answer: a few only, because it may never read. */
  mayAnswer(identity: string): boolean {
    if (this.#answered.size >= REMEMBERED) this.#answered.clear();
    const answers = (this.#answered.get(identity) ?? 0) + 1;
    this.#answered.set(identity, answers);
    return answers <= ANSWERS;
  }
}
