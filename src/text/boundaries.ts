/**
 * Finds where a text may be cut, while it is read token by token. The state after a token depends
 * on this token and those before it alone.
 *
 * A boundary is known late: with the first word of what follows. Nothing follows the end of an
 * answer, so its last mark and the blanks after it make no boundary. A number alone (`42.`) may be
 * the whole answer, so it counts as a word only if the text is complete.
 */
import { KIND, kindOf } from './characters.ts';
import { Formulas } from './formulas.ts';
import { Sentences } from './sentences.ts';

const { BLANK, CLAUSE, CLOSER, DIGIT, HARD_MARK, LETTER, LINE_END, SOFT_MARK, SYMBOL, UNCASED } =
  KIND;
const kindOfCharacter = kindOf;

export class Boundaries {
  /** UTF-16 units before the last found boundary, which is the end of a sentence or line. */
  at = 0;
  /** The last token ended a clause, outside formulas. */
  clause = false;
  /** The last token begins a word, outside formulas. */
  word = false;
  /** The last token contains something other than blanks. */
  visible = false;
  readonly #sentences: Sentences | null;
  readonly #formulas = new Formulas();
  /** A sentence or a line ended, and no first word of another was read since. */
  #ended = false;
  /** As `#ended`, inside a possible formula. */
  #endedInside = false;
  #endedInsideAt = 0;
  /** The first word of what follows was read. */
  #ripe = false;
  #sawNumber = false;
  /** The kind of the character before. */
  #before = 0;
  /** The character before is a point or a comma after a digit. */
  #point = false;
  #lineHasText = false;
  #lineEnded = false;
  #lineEnd = 0;
  #clauseMark = false;
  /** Within a command such as `\begin{align}`: its name, or its first argument up to a blank. */
  #command: 'none' | 'name' | 'argument' = 'none';
  /** Inside a fenced block of code, where only lines count. */
  #fenced = false;
  #ticks = 0;

  readonly #complete: boolean;

  /**
   * @param complete the text is complete and is cut exactly at `at`
   */
  constructor(rule: 'line' | 'sentence', complete = false) {
    this.#complete = complete;
    this.#sentences = rule === 'sentence' ? new Sentences() : null;
  }

  /** Whether the text may be cut after the last token, at a boundary before its last words. */
  get ready(): boolean {
    if (this.#complete) return this.#ripe;
    return this.#ripe && this.visible && !this.#formulas.inside && !this.#inNumber;
  }

  get inFormula(): boolean {
    return this.#formulas.inside;
  }

  /** Drops a boundary that was used, or is too near to the one before. */
  drop(): void {
    this.#ended = false;
    this.#ripe = false;
  }

  /** Reads the next token: `text` from `from` to `to`. */
  read(text: string, from: number, to: number): void {
    this.clause = false;
    this.word = false;
    this.visible = false;
    let before = this.#before;
    let idle = this.#formulas.idle;
    for (let i = from; i < to; ) {
      const unit = text.charCodeAt(i);
      const code = unit >= 0xd800 && unit <= 0xdbff && i + 1 < to ? text.codePointAt(i)! : unit;
      const kind = kindOfCharacter(code);
      // Most characters change nothing: blanks after blanks of the same kind, letters within a
      // word.
      const known =
        idle &&
        (kind & BLANK ? kind === before : (kind & before & LETTER) !== 0 && this.#passes(kind));
      if (!known) {
        this.#before = before;
        this.#step(text, i, code, kind);
        idle = this.#formulas.idle;
      }
      before = kind;
      i += code > 0xffff ? 2 : 1;
    }
    this.#before = before;
  }

  /** Whether a letter after a letter changes nothing. */
  #passes(kind: number): boolean {
    if (this.#ended || this.#command !== 'none') return false;
    if (this.#sentences !== null && !this.#sentences.idle) return false;
    this.visible = true;
    if (kind & UNCASED) this.word = true;
    return true;
  }

  /** Whether the text ends with `3`, `3.` or `3,`, which may continue. */
  get #inNumber(): boolean {
    return (this.#before & DIGIT) !== 0 || this.#point;
  }

  #step(text: string, index: number, code: number, kind: number): void {
    this.#point = (this.#before & DIGIT) !== 0 && (code === 0x2e || code === 0x2c);
    const event = this.#fenced ? 'nothing' : this.#formulas.read(text, index, code, kind);
    const inside = this.#formulas.inside;
    if (kind & LINE_END) this.#endLine(index + 1, inside);
    if (event === 'opened') this.#endedInside = false;
    if (event === 'cancelled' && this.#endedInside) this.#end(this.#endedInsideAt);
    if (event === 'closed') this.#sentences?.reset();
    if (kind & BLANK) {
      this.#command = 'none';
      this.#readSentence(text, index, code, kind, event === 'opened');
      return;
    }
    this.visible = true;
    if (this.#lineEnded) {
      this.#lineEnded = false;
      this.#end(this.#lineEnd);
    }
    this.#fence(code);
    this.#lineHasText = true;
    this.#readSentence(text, index, code, kind, event === 'opened');
    if (this.#complete && this.#ended && (inside || kind & DIGIT)) this.#ripe = true;
    if (!this.#inCommand(code, kind) && !inside && event !== 'closed') this.#readWord(kind);
  }

  #readSentence(text: string, index: number, code: number, kind: number, formula: boolean): void {
    if (this.#fenced || !this.#sentences?.read(text, index, code, kind, formula)) return;
    if (!this.#formulas.inside || formula) this.#end(this.#sentences.endedAt);
    else {
      this.#endedInside = true;
      this.#endedInsideAt = this.#sentences.endedAt;
    }
  }

  #end(at: number): void {
    this.#ended = true;
    this.#ripe = false;
    this.#sawNumber = false;
    this.at = at;
  }

  #inCommand(code: number, kind: number): boolean {
    const before = this.#command;
    if (code === 0x5c) this.#command = 'name';
    else if (before === 'name' && code === 0x7b) this.#command = 'argument';
    else if (before === 'name' && !(kind & LETTER)) this.#command = 'none';
    else if (before === 'argument' && code === 0x7d) this.#command = 'none';
    return before !== 'none' || this.#command !== 'none';
  }

  /** Reads a character outside formulas and commands that is not a blank. */
  #readWord(kind: number): void {
    const afterBlank = (this.#before & BLANK) !== 0;
    if (kind & (LETTER | SYMBOL)) {
      if (this.#ended) this.#ripe = true;
      if (this.#clauseMark && (afterBlank || kind & UNCASED)) this.clause = true;
      if (afterBlank || kind & UNCASED) this.word = true;
    } else if (this.#ended) {
      // A number alone may be the answer; a calculation with it is not.
      if (kind & DIGIT) this.#ripe ||= this.#sawNumber && afterBlank;
      else if (!(kind & (CLOSER | SOFT_MARK | HARD_MARK | CLAUSE))) this.#ripe ||= this.#sawNumber;
      this.#sawNumber ||= (kind & DIGIT) !== 0;
    }
    this.#clauseMark = (kind & CLAUSE) !== 0;
  }

  /** Ends a line; inside a formula, line breaks end nothing. */
  #endLine(end: number, inside: boolean): void {
    this.#ticks = 0;
    if (!this.#lineHasText || inside) return;
    this.#lineHasText = false;
    this.#lineEnded = true;
    this.#lineEnd = end;
  }

  /** Reads three backticks at the beginning of a line. */
  #fence(code: number): void {
    if (code !== 0x60) {
      this.#ticks = Number.NaN;
      return;
    }
    this.#ticks++;
    if (this.#ticks !== 3) return;
    this.#fenced = !this.#fenced;
    this.#formulas.reset();
    this.#sentences?.reset();
  }
}
