/**
 * Text of others (responses, prompts, names, rationales) made harmless in a critic's prompt: it
 * can't open or close the prompt's own tags, nor begin a turn of a chat that is plain text. Every
 * function takes linear time.
 */
import { foldCharacter } from './fold.ts';
import type { ScoreFormat } from './score.ts';

/** A binding of this module: one of another is slow where every character needs it. */
const fold = foldCharacter;

/** Tags that enclose what others wrote, and the score's. */
const enclosing = ['actor_profile', 'problem', 'partial_response', 'score'];

/**
 * What may stand between a bracket and a tag's name, or between the name's letters: all
 * punctuation, blanks and what is not seen. Of ASCII its symbols too, but for brackets: these may
 * begin something else.
 */
const passedOver = new Set(' \n\t/\\_.,:;\'"`*-+=~!?#$%&@^|(');
const passedOverToo = /(?![ -~])[\p{P}\p{Z}\p{M}\p{Cf}\p{Cc}\p{Cs}\ufffc\ufffd]/gu;

/**
 * What closes `(<)` and `“<”`, where a bracket is spoken of, and symbols of mathematics and the
 * like: behind these it is a tag only if its end follows the name. Elsewhere what closes is passed
 * over, like other punctuation.
 */
const opening = /[\p{Ps}\p{Pi}]\s?$/u;
const closingToo = /(?![ -~])[\p{Pe}\p{Pf}\p{Pi}]/gu;
const symbols = /(?![ -~])\p{S}/gu;
/** Stands for all symbols; no name holds it. */
const SYMBOL = '\ue000';
const closing = new Set([...')]}'].map((mark) => mark.charCodeAt(0)));

/** Brackets that open a tag, and what takes their place; neither folds to the other. */
const instead = new Map([
  ['<', '‹'],
  ['[', '⁅'],
  ['{', '❴'],
]);
const ends: Readonly<Record<string, string>> = { '<': '>', '[': ']', '{': '}' };

/** Names of tags by the bracket that opens them, each as its letters and digits alone. */
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
 * The prompt's own tags and those of a score format, where its marks are like tags: `<grade>`,
 * `[[grade]]`.
 */
export function tagsWith({ open, close }: ScoreFormat): Tags {
  const marks = [open, close].flatMap((mark) => {
    const found = /^\s*([<[{])[^\p{L}\p{N}]*([\p{L}\p{N}][\p{L}\p{N}_:.-]*)/u.exec(mark);
    return found ? [[found[1]!, found[2]!] as const] : [];
  });
  return marks.length === 0 ? promptTags : tagsOf([...ownTags, ...marks]);
}

/** 1 + which bracket of `brackets` a UTF-16 unit folds to, 0: not yet known, 255: none. */
const brackets = '<[{';
const bracketOf = new Uint8Array(0x10000);

/** The bracket that a character folds to, if it does. */
function bracketAt(text: string, index: number): string | null {
  const unit = text.charCodeAt(index);
  const known = bracketOf[unit]!;
  if (known > 0) return known === 255 ? null : brackets[known - 1]!;
  const at = brackets.indexOf(fold(text[index]!)[0] ?? ' ');
  bracketOf[unit] = at < 0 ? 255 : at + 1;
  return at < 0 ? null : brackets[at]!;
}

/**
 * The text with no tag of `tags` in it: the bracket before a tag's name is replaced (`<` by `‹`). A
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
 * Returns a `defuse` for texts each of which may begin with the one before, as the states of a
 * response do. It reads only what was added: a bracket that was no tag stays none, unless the text
 * ended before that was known.
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

/** Of ASCII: the UTF-16 unit that a character folds to; 0: it is passed over. */
const asciiUnits = Uint8Array.from({ length: 128 }, (_, unit) => {
  const folded = fold(String.fromCharCode(unit));
  return folded === '' || passedOver.has(folded) ? 0 : folded.charCodeAt(0);
});

const otherUnits = new Map<string, string>();

/** What a character that is not ASCII is read as in a tag; '': it is passed over. */
function readAs(character: string): string {
  const seen = otherUnits.get(character);
  if (seen !== undefined) return seen;
  const seenAs = fold(character).replace(closingToo, ')').replace(symbols, SYMBOL);
  const read = seenAs.replace(passedOverToo, '');
  if (otherUnits.size < 20_000) otherUnits.set(character, read);
  return read;
}

/**
 * Does the name of a tag come next? Ends at the next bracket, so that each character is read for
 * one bracket only.
 * @returns null where the text ends before this is known
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
  // What the last character folds to, and how much of it was read.
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

/** Does a tag's end come next, but for what is not seen? */
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

/** Who speaks in chats, besides the roles that a chat has itself. */
const speakers = [
  ...['assistant', 'developer', 'function', 'system', 'tool', 'user'],
  ...['ai', 'bot', 'human'],
];
/** Looks like a colon (RATIO) and is none. */
const COLON = '\u2236';
const lineEnds = new Set('\n\r\v\f\u001c\u001d\u001e\u0085\u2028\u2029');
/** Characters of the longest role that is looked for. */
const LONGEST_ROLE = 64;

const isWord = /[\p{L}\p{N}]/u;
const signsAround = /^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu;

/**
 * A message's content with no line, after its first, that begins as a turn of a plain-text chat
 * does (`assistant:`, also in bold, in quotes, or as an item of a list): the colon is replaced.
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

/** The text with no line, its first too, that begins as a turn does. */
export const withoutTurns = (text: string, roles: readonly string[]): string =>
  defuseTurns(`\n${text}`, roles).slice(1);

/** Where a line that begins at `from` has the colon after a role; -1: it is no turn. */
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
