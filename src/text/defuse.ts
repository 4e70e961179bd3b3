/**
 * Makes text from others (responses, prompts, names, rationales) harmless in a critic's prompt: it
 * can neither open or close the prompt's own tags nor begin a turn of a chat in plain text. Every
 * function takes linear time.
 */
import { foldCharacter } from './fold.ts';
import type { ScoreFormat } from './score.ts';

/** A binding of this module, because one of another module is slow if every character reads it. */
const fold = foldCharacter;

/** Tags around text from others, and the score's tag. */
const enclosing = ['actor_profile', 'problem', 'partial_response', 'score'];

/**
 * Characters that may occur between a bracket and a tag's name, or between the name's letters: all
 * punctuation, blanks and invisible characters. Of ASCII also its symbols except brackets, which
 * may begin something else.
 */
const passedOver = new Set(' \n\t/\\_.,:;\'"`*-+=~!?#$%&@^|(');
const passedOverToo = /(?![ -~])[\p{P}\p{Z}\p{M}\p{Cf}\p{Cc}\p{Cs}\ufffc\ufffd]/gu;

/**
 * Characters around brackets as in `(<)` and `“<”`, where a text mentions one, and symbols of
 * mathematics and the like. After these, a tag counts only if its end follows the name. Elsewhere,
 * closing characters are skipped like other punctuation.
 */
const opening = /[\p{Ps}\p{Pi}]\s?$/u;
const closingToo = /(?![ -~])[\p{Pe}\p{Pf}\p{Pi}]/gu;
const symbols = /(?![ -~])\p{S}/gu;
/** Represents all symbols; no name contains it. */
const SYMBOL = '\ue000';
const closing = new Set([...')]}'].map((mark) => mark.charCodeAt(0)));

/** Brackets that open a tag, and their replacements; neither folds to the other. */
const instead = new Map([
  ['<', '‹'],
  ['[', '⁅'],
  ['{', '❴'],
]);
const ends: Readonly<Record<string, string>> = { '<': '>', '[': ']', '{': '}' };

/** Names of tags by their opening bracket, reduced to letters and digits. */
export type Tags = ReadonlyMap<string, readonly string[]>;

const bare = (name: string) =>
  [...name]
    .map(fold)
    .join('')
    .replace(/[^\p{L}\p{N}]/gu, '');

function tagsOf(names: readonly (readonly [string, string])[]): Tags {
  const tags = new Map<string, string[]>();
  for (const [bracket, name] of names) {
    const known = tags.get(bracket) ?? [];
    if (bare(name) !== '' && !known.includes(bare(name))) tags.set(bracket, [...known, bare(name)]);
  }
  return tags;
}

const ownTags = enclosing.map((name) => ['<', name] as const);
export const promptTags: Tags = tagsOf(ownTags);

/**
 * Returns the prompt's own tags and those of a score format, if its marks are like tags: `<grade>`,
 * `[[grade]]`.
 */
export function tagsWith({ open, close }: ScoreFormat): Tags {
  const marks = [open, close].flatMap((mark) => {
    const found = /^\s*([<[{])[^\p{L}\p{N}]*([\p{L}\p{N}][\p{L}\p{N}_:.-]*)/u.exec(mark);
    return found ? [[found[1]!, found[2]!] as const] : [];
  });
  return marks.length === 0 ? promptTags : tagsOf([...ownTags, ...marks]);
}

/**
 * 1 + index in `brackets` of the bracket that a UTF-16 unit folds to; 0: not computed yet, 255:
 * none.
 */
const brackets = '<[{';
const bracketOf = new Uint8Array(0x10000);

/** Returns the bracket that a character folds to, if any. */
function bracketAt(text: string, index: number): string | null {
  const unit = text.charCodeAt(index);
  const known = bracketOf[unit]!;
  if (known > 0) return known === 255 ? null : brackets[known - 1]!;
  const at = brackets.indexOf(fold(text[index]!)[0] ?? ' ');
  bracketOf[unit] = at < 0 ? 255 : at + 1;
  return at < 0 ? null : brackets[at]!;
}

/**
 * Replaces the bracket before every tag's name (`<` by `‹`), so that no tag of `tags` remains. A
 * name counts in any case and script, full-width, with invisible characters, blanks, slashes or
 * other punctuation before and within it.
 */
export function defuse(text: string, tags: Tags = promptTags): string {
  const parts: string[] = [];
  let copied = 0;
  for (let i = 0; i < text.length; i++) {
    const bracket = bracketAt(text, i);
    const names = bracket === null ? undefined : tags.get(bracket);
    if (!names || namesTag(text, i + 1, names, bracket!) !== true) continue;
    parts.push(text.slice(copied, i), instead.get(bracket!)!);
    copied = i + 1;
  }
  return copied === 0 ? text : parts.join('') + text.slice(copied);
}

/**
 * Returns a `defuse` for texts that each may begin with the one before, as the states of a response
 * do. It reads only the added part: a bracket that was no tag stays none, unless the text ended
 * before that was known.
 */
export function growingDefuse(tags: Tags = promptTags): (text: string) => string {
  let last = '';
  let known = 0;
  return (text) => {
    if (text === last) return text;
    let open = text.length;
    // `startsWith` would compare unit by unit.
    for (let i = text.slice(0, last.length) === last ? known : 0; i < text.length; i++) {
      const bracket = bracketAt(text, i);
      const names = bracket === null ? undefined : tags.get(bracket);
      if (!names) continue;
      const found = namesTag(text, i + 1, names, bracket!);
      if (found) return defuse(text, tags);
      if (found === null) open = Math.min(open, i);
    }
    last = text;
    known = open;
    return text;
  };
}

/** For ASCII, the UTF-16 unit that a character folds to; 0: it is skipped. */
const asciiUnits = Uint8Array.from({ length: 128 }, (_, unit) => {
  const folded = fold(String.fromCharCode(unit));
  return folded === '' || passedOver.has(folded) ? 0 : folded.charCodeAt(0);
});

const otherUnits = new Map<string, string>();

/** Returns how a character outside ASCII reads in a tag; '': it is skipped. */
function readAs(character: string): string {
  const seen = otherUnits.get(character);
  if (seen !== undefined) return seen;
  const seenAs = fold(character).replace(closingToo, ')').replace(symbols, SYMBOL);
  const read = seenAs.replace(passedOverToo, '');
  if (otherUnits.size < 20_000) otherUnits.set(character, read);
  return read;
}

/**
 * Returns whether the name of a tag comes next. Stops at the next bracket, so that each character
 * is read for one bracket only.
 *
 * @returns null if the text ends before this is known
 */
function namesTag(
  text: string,
  from: number,
  names: readonly string[],
  bracket: string,
): boolean | null {
  const bracketUnit = bracket.charCodeAt(0);
  const endUnit = ends[bracket]!.charCodeAt(0);
  const symbolUnit = SYMBOL.charCodeAt(0);
  let spokenOf: boolean | undefined;
  let doubtful = false;
  let read = 0;
  // Bit n: names[n] begins with what was read.
  let open = (1 << names.length) - 1;
  // The fold of the last character, and how much of it was read.
  let folded = '';
  let j = 0;
  for (let i = from; i < text.length || j < folded.length; ) {
    let unit: number;
    if (j < folded.length) unit = folded.charCodeAt(j++);
    else {
      unit = text.charCodeAt(i);
      if (unit >= 128) {
        const character = characterAt(text, i);
        folded = readAs(character);
        j = 0;
        i += character.length;
        continue;
      }
      i++;
    }
    if (unit < 128) unit = asciiUnits[unit]!;
    if (unit === 0) continue;
    if (unit === bracketUnit || unit === endUnit) return false;
    if (closing.has(unit)) {
      spokenOf ??= opening.test(text.slice(Math.max(0, from - 3), from - 1));
      doubtful ||= spokenOf;
      continue;
    }
    if (unit === symbolUnit) {
      doubtful = true;
      continue;
    }
    for (let n = 0; n < names.length; n++)
      if (names[n]!.charCodeAt(read) !== unit) open &= ~(1 << n);
    if (open === 0) return false;
    read++;
    for (let n = 0; n < names.length; n++)
      if (open & (1 << n) && names[n]!.length === read)
        if (!doubtful || endsAt(text, i, ends[bracket]!)) return true;
  }
  return null;
}

/** Returns whether a tag's end comes next, after invisible characters. */
function endsAt(text: string, from: number, end: string): boolean {
  for (let i = from; i < text.length; ) {
    const character = characterAt(text, i);
    const folded = fold(character);
    if (folded !== '') return folded === end;
    i += character.length;
  }
  return false;
}

function characterAt(text: string, index: number): string {
  const unit = text.charCodeAt(index);
  return unit >= 0xd800 && unit <= 0xdbff
    ? String.fromCodePoint(text.codePointAt(index)!)
    : text[index]!;
}

/** Speakers of chats, in addition to a chat's own roles. */
const speakers = [
  ...['assistant', 'developer', 'function', 'system', 'tool', 'user'],
  ...['ai', 'bot', 'human'],
];
/** The character RATIO, which looks like a colon. */
const COLON = '\u2236';
const lineEnds = new Set('\n\r\v\f\u001c\u001d\u001e\u0085\u2028\u2029');
/** Largest number of characters of a role. */
const LONGEST_ROLE = 64;

const isWord = /[\p{L}\p{N}]/u;
const signsAround = /^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu;

/**
 * Replaces the colon of every line, after the first, that begins like a turn of a plain-text chat
 * (`assistant:`, also in bold, in quotes, or as an item of a list).
 *
 * @param roles of the chat itself
 */
export function defuseTurns(content: string, roles: readonly string[]): string {
  const own = roles.map((role) => [...role].map(fold).join('').replace(signsAround, ''));
  const names = new Set([...speakers, ...own.filter((role) => role !== '')]);
  const parts: string[] = [];
  let copied = 0;
  for (let i = 0; i < content.length; i++) {
    if (!lineEnds.has(content[i]!)) continue;
    const colon = colonOfTurn(content, i + 1, names);
    if (colon < 0) continue;
    parts.push(content.slice(copied, colon), COLON);
    copied = colon + 1;
  }
  return copied === 0 ? content : parts.join('') + content.slice(copied);
}

/** The same for all lines, the first included. */
export const withoutTurns = (text: string, roles: readonly string[]): string =>
  defuseTurns(`\n${text}`, roles).slice(1);

/**
 * Returns the position of the colon after a role in a line that begins at `from`; -1: it is no
 * turn.
 */
function colonOfTurn(text: string, from: number, roles: ReadonlySet<string>): number {
  let read = '';
  let blank = false;
  for (let i = from; i < text.length && read.length <= LONGEST_ROLE; ) {
    const character = characterAt(text, i);
    const folded = fold(character);
    if (folded === '\n') return -1;
    const signs = read === '' && !isWord.test(folded);
    if (folded === ':' && !signs) return roles.has(read.replace(signsAround, '')) ? i : -1;
    if (signs || folded.trim() === '') blank ||= folded !== '' && read !== '';
    else {
      read += (blank ? ' ' : '') + folded;
      blank = false;
    }
    i += character.length;
  }
  return -1;
}
