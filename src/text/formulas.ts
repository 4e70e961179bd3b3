/**
 * Finds formulas while a text is read character by character: `$...$`, `$$...$$`, `\(...\)`,
 * `\[...\]`, `\begin{align}`.
 */
import { KIND } from './characters.ts';

const { BLANK, DIGIT, LETTER, LINE_END } = KIND;

const environment =
  /\\(begin|end)\{(?:align|aligned|equation|gather|gathered|multline|split|eqnarray|cases|array|[pbvBV]?matrix)\*?\}$/;
const LONGEST_COMMAND = 24;
/** UTF-16 units. A longer one is no formula: the `$` meant money. */
const LONGEST_INLINE = 300;

type Mode = 'none' | '$?' | '$' | '$$' | '(' | '[' | 'environment';
/** The effect of the last character. `cancelled`: the supposed formula was none. */
export type FormulaEvent = 'nothing' | 'opened' | 'closed' | 'cancelled';

export class Formulas {
  #mode: Mode = 'none';
  /** The kind of the character before. */
  #before = 0;
  /** The character before is a backslash that nothing escapes. */
  #escapes = false;
  #length = 0;
  /** Half of a closing `$$` was read. */
  #half = false;
  #emptyLine = false;
  /** State of `$5. Then`: in the digits, after them, or no money. */
  #money: 'digits' | 'after' | 'no' = 'no';
  #letters = 0;

  get inside(): boolean {
    return this.#mode !== 'none';
  }

  reset(): void {
    this.#mode = 'none';
  }

  /**
   * Whether a letter or a blank as the next character would change nothing, so that it need not be
   * read.
   */
  get idle(): boolean {
    return this.#mode === 'none' && !this.#escapes;
  }

  /**
   * @param code the code point at `index` of `text`; characters are read in order
   * @param kind of the character
   */
  read(text: string, index: number, code: number, kind: number): FormulaEvent {
    const escaped = this.#escapes;
    this.#escapes = code === 0x5c && !escaped;
    if (this.#mode === 'none' && !escaped && code !== 0x24 && code !== 0x7d) return 'nothing';
    const event = this.#step(text, index, code, kind, escaped);
    if (event === 'opened') this.#begin();
    this.#emptyLine = kind & LINE_END ? true : this.#emptyLine && (kind & BLANK) !== 0;
    this.#before = kind;
    return event;
  }

  #begin(): void {
    this.#length = 0;
    this.#half = false;
    this.#letters = 0;
    this.#money = 'no';
    this.#emptyLine = false;
  }

  #end(event: 'closed' | 'cancelled'): FormulaEvent {
    this.#mode = 'none';
    return event;
  }

  #step(text: string, index: number, code: number, kind: number, escaped: boolean): FormulaEvent {
    const dollar = code === 0x24 && !escaped;
    this.#length++;
    switch (this.#mode) {
      case 'none':
        if (dollar) this.#mode = '$?';
        else if (escaped && code === 0x28) this.#mode = '(';
        else if (escaped && code === 0x5b) this.#mode = '[';
        else if (code === 0x7d && commandAt(text, index) === 'begin') this.#mode = 'environment';
        return this.#mode === 'none' ? 'nothing' : 'opened';
      case '$?':
        if (kind & BLANK) return this.#end('cancelled');
        this.#mode = dollar ? '$$' : '$';
        if (kind & DIGIT) this.#money = 'digits';
        return 'nothing';
      case '$':
        return this.#inline(code, kind, dollar);
      case '$$':
        if (dollar && this.#half) return this.#end('closed');
        this.#half = dollar;
        break;
      case '(':
        if (escaped && code === 0x29) return this.#end('closed');
        break;
      case '[':
        if (escaped && code === 0x5d) return this.#end('closed');
        break;
      case 'environment':
        if (code === 0x7d && commandAt(text, index) === 'end') return this.#end('closed');
        break;
    }
    return kind & LINE_END && this.#emptyLine ? this.#end('cancelled') : 'nothing';
  }

  #inline(code: number, kind: number, dollar: boolean): FormulaEvent {
    if (dollar) {
      if (!(this.#before & BLANK)) return this.#end('closed');
      // A formula does not end with a blank: this `$` begins one, and the one before meant money.
      this.#begin();
      this.#mode = '$?';
      return 'cancelled';
    }
    if (kind & LINE_END || this.#length > LONGEST_INLINE) return this.#end('cancelled');
    if (this.#money === 'digits' && !(kind & DIGIT) && code !== 0x2e && code !== 0x2c)
      this.#money = kind & LETTER || code === 0x5c ? 'no' : 'after';
    if (this.#money === 'after' && !(kind & BLANK)) {
      if (kind & LETTER) this.#letters++;
      else if (!isPause(code)) this.#money = 'no';
      if (this.#letters > 1) return this.#end('cancelled');
    }
    return 'nothing';
  }
}

/** `)`, `;`, `:`, `!`, `?`, and quotes. */
const isPause = (code: number) =>
  code === 0x29 ||
  code === 0x3b ||
  code === 0x3a ||
  code === 0x21 ||
  code === 0x3f ||
  code === 0x22;

function commandAt(text: string, index: number): string | undefined {
  return environment.exec(text.slice(Math.max(0, index + 1 - LONGEST_COMMAND), index + 1))?.[1];
}
