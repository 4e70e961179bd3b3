/**
 * Finds the ends of sentences while a text is read character by character. Whether a mark ends a
 * sentence is known with the first character of what follows: `3.` may continue with `5`, `obj.`
 * with `field`, and `i.e.` with a small letter.
 */
import { KIND } from './characters.ts';

const {
  BLANK,
  CLOSER,
  DIGIT,
  HARD_MARK,
  LETTER,
  LINE_END,
  LOWER,
  OPENER,
  SOFT_MARK,
  SYMBOL,
  UNCASED,
} = KIND;

const words = (list: string) => new Set(list.split(' '));
/** Before a name or a formula. */
const abbreviations = words('dr mr mrs ms prof vs cf viz approx resp fig figs eq eqs thm lem al');
/** Before a number. */
const numbered = words(
  'no nos sec ch p pp vol art ex def prop cor st jan feb mar apr jun jul aug sep sept oct nov dec',
);
/** `i.e`, `U.S`, `Ph.D`. */
const dotted = /^(?:\p{L}{1,2}\.)+\p{L}{1,2}$/u;
/** `1`, `a`, `iv`, of a list. */
const listMark = /^(?:\d{1,3}|\p{L}|[ivx]{1,4})$/iu;
/** Largest number of UTF-16 units of an abbreviation. */
const LONGEST_WORD = 24;
/** Opening characters that are skipped before a sentence's first word. */
const OPENERS = 8;

/** “, ‘, «: after `。` they begin the next sentence, after `.` they may close German quotes. */
const opensQuote = (code: number) => code === 0x201c || code === 0x2018 || code === 0xab;

export class Sentences {
  /**
   * UTF-16 units before the end of the last found sentence, with its closing marks and without
   * blanks.
   */
  endedAt = 0;
  #state: 'text' | 'marks' | 'blanks' = 'text';
  #hard = false;
  #run = 0;
  #firstMark = 0;
  #end = 0;
  #openers = 0;
  /** Begin of the current word; -1: between words. */
  #wordStart = -1;
  #beginsLine = true;
  /** UTF-16 units of the word that a blank just ended; 0 after any other character. */
  #wordAway = 0;
  /** Nothing was read, or the last character is a blank. */
  #afterBlank = true;
  /** The word before the mark. */
  #wordBefore = '';
  #standsAlone = false;
  #markAway = false;
  #wordBeganLine = false;

  /** Whether a letter within a word would change nothing, so that it need not be read. */
  get idle(): boolean {
    return this.#state === 'text';
  }

  /**
   * @param code the code point at `index` of `text`
   * @param kind of the character
   * @param formula whether a formula begins here
   * @returns true: this character shows that a sentence ended before it
   */
  read(text: string, index: number, code: number, kind: number, formula: boolean): boolean {
    if (kind & (SOFT_MARK | HARD_MARK)) this.#mark(text, index, code, kind);
    const ended = this.#state !== 'text' && this.#step(code, kind, index, formula);
    if (ended) this.endedAt = this.#end;
    const blank = (kind & BLANK) !== 0;
    if (!blank) this.#wordAway = 0;
    else if (this.#wordStart >= 0) this.#wordAway = index - this.#wordStart;
    this.#afterBlank = blank;
    if (kind & (LETTER | DIGIT) || code === 0x2e) {
      if (this.#wordStart < 0) this.#wordStart = index;
    } else if (kind & LINE_END) {
      this.#wordStart = -1;
      this.#beginsLine = true;
    } else if (this.#wordStart >= 0) {
      this.#wordStart = -1;
      this.#beginsLine = false;
    }
    return ended;
  }

  /** Drops a mark that waits for the next character. */
  reset(): void {
    this.#state = 'text';
  }

  #step(code: number, kind: number, index: number, formula: boolean): boolean {
    if (kind & (SOFT_MARK | HARD_MARK)) return false;
    if (this.#state === 'marks') {
      if (kind & BLANK) this.#state = 'blanks';
      else if (kind & CLOSER && !(this.#hard && opensQuote(code))) this.#end = index + 1;
      else {
        this.#state = 'text';
        if (this.#hard) return true;
        return (kind & UNCASED) !== 0 && !this.#abbreviates(kind);
      }
      return false;
    }
    if (this.#state !== 'blanks' || kind & BLANK) return false;
    // A backslash begins a formula or a command.
    if (formula || code === 0x5c) return this.#decided(this.#hard || !this.#abbreviates(kind));
    if (kind & (LETTER | DIGIT | SYMBOL))
      return this.#decided(this.#hard || !(kind & LOWER || this.#abbreviates(kind)));
    if (kind & OPENER && ++this.#openers <= OPENERS) return false;
    return this.#decided(this.#hard);
  }

  #decided(ended: boolean): boolean {
    this.#state = 'text';
    return ended;
  }

  #mark(text: string, index: number, code: number, kind: number): void {
    if (this.#state === 'text') {
      this.#hard = false;
      this.#run = 0;
      this.#firstMark = code;
      this.#markAway = this.#afterBlank;
      this.#standsAlone = this.#afterBlank && !(code !== 0x2e && this.#wordAway > 1);
      const long = this.#wordStart < 0 || index - this.#wordStart > LONGEST_WORD;
      this.#wordBefore = long ? '' : text.slice(this.#wordStart, index);
      this.#wordBeganLine = this.#beginsLine;
    }
    this.#state = 'marks';
    this.#hard ||= (kind & HARD_MARK) !== 0;
    this.#run++;
    this.#openers = 0;
    this.#end = index + (code > 0xffff ? 2 : 1);
  }

  /**
   * Whether the mark does not end a sentence: it belongs to the word before it, or is alone between
   * blanks. `kind` is that of the next character.
   */
  #abbreviates(kind: number): boolean {
    if (this.#run > 1) return false;
    // In French, a blank precedes `?` and `!`.
    if (this.#standsAlone || (this.#markAway && !(kind & LETTER))) return true;
    if (this.#firstMark !== 0x2e) return false;
    const word = this.#wordBefore;
    if (this.#wordBeganLine && listMark.test(word)) return true;
    const plain = word.toLowerCase();
    return (
      dotted.test(word) || abbreviations.has(plain) || ((kind & DIGIT) !== 0 && numbered.has(plain))
    );
  }
}
