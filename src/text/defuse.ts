/**
 * Text of others (responses, prompts, names, rationales) made harmless in a critic's prompt: it can't open or close
 * the prompt's own tags, nor begin a turn of a chat that is plain text. Every function takes linear time.
 */
import { foldCharacter } from './fold.ts';
import type { ScoreFormat } from './score.ts';

/** Tags that enclose what others wrote, and the score's. */
const enclosing = ['actor_profile', 'problem', 'partial_response', 'score'];

/** What may stand between a bracket and a tag's name, or between the name's letters. */
const passedOver = /^[\s/\\_.'"`*-]*$/u;

/** Brackets that open a tag, and what takes their place; neither folds to the other. */
const instead = new Map([
  ['<', '‹'],
  ['[', '⁅'],
  ['{', '❴'],
]);

/** Names of tags by the bracket that opens them, each as its letters and digits alone. */
export type Tags = ReadonlyMap<string, readonly string[]>;

const bare = (name: string) =>
  [...name]
    .map(foldCharacter)
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

/** The prompt's own tags and those of a score format, where its marks are like tags: `<grade>`, `[[grade]]`. */
export function tagsWith({ open, close }: ScoreFormat): Tags {
  const marks = [open, close].flatMap((mark) => {
    const found = /^\s*([<[{])[^\p{L}\p{N}]*([\p{L}\p{N}][\p{L}\p{N}_:.-]*)/u.exec(mark);
    return found ? [[found[1]!, found[2]!] as const] : [];
  });
  return marks.length === 0 ? promptTags : tagsOf([...ownTags, ...marks]);
}

/** Characters that may fold to a bracket: everything that is neither ASCII nor a letter, and the brackets. */
const candidates = /[<[{]|[^\p{ASCII}\p{L}\p{N}\p{M}]|[ᐸᗕ˂]/gu;

/**
 * The text with no tag of `tags` in it: the bracket before a tag's name is replaced (`<` by `‹`). A name counts in any
 * case and script, full-width, with invisible characters, blanks or slashes before and within it.
 */
export function defuse(text: string, tags: Tags = promptTags): string {
  let result = '';
  let copied = 0;
  for (const { index, 0: character } of text.matchAll(candidates)) {
    const bracket = foldCharacter(character)[0] ?? '';
    const names = tags.get(bracket);
    if (!names || !namesTag(text, index + character.length, names, bracket)) continue;
    result += text.slice(copied, index) + instead.get(bracket)!;
    copied = index + character.length;
  }
  return copied === 0 ? text : result + text.slice(copied);
}

/** Does the name of a tag come next? Ends at the next bracket, so that each character is read for one bracket only. */
function namesTag(text: string, from: number, names: readonly string[], bracket: string): boolean {
  let open = names;
  let read = 0;
  for (let i = from; i < text.length; ) {
    const character = String.fromCodePoint(text.codePointAt(i)!);
    i += character.length;
    for (const part of foldCharacter(character)) {
      if (part === bracket) return false;
      if (passedOver.test(part)) continue;
      open = open.filter((name) => name[read] === part);
      if (open.length === 0) return false;
      read++;
      if (open.some((name) => name.length === read)) return true;
    }
  }
  return false;
}

/** Who speaks in chats, besides the roles that a chat has itself. */
const speakers = ['assistant', 'developer', 'function', 'system', 'tool', 'user'];
/** Looks like a colon (RATIO) and is none. */
const COLON = '\u2236';
// biome-ignore lint/suspicious/noControlCharactersInRegex: they end lines
const ends = /\r\n|[\n\r\v\f\u001c-\u001e\u0085\u2028\u2029]/u;
const keptEnds = new RegExp(`(${ends.source})`, 'u');

/**
 * A message's content with no line, after its first, that begins as a turn of a plain-text chat does (`assistant:`): the
 * colon is replaced.
 * @param roles of the chat itself
 */
export function defuseTurns(content: string, roles: readonly string[]): string {
  if (!ends.test(content)) return content;
  const names = [...speakers, ...roles.map((role) => [...role].map(foldCharacter).join('').trim())];
  return content
    .split(keptEnds)
    .map((line, i) => (i > 0 && i % 2 === 0 ? withoutTurn(line, names) : line))
    .join('');
}

function withoutTurn(line: string, roles: readonly string[]): string {
  let read = '';
  let blank = false;
  for (let i = 0; i < line.length && read.length <= 64; ) {
    const character = String.fromCodePoint(line.codePointAt(i)!);
    const folded = foldCharacter(character);
    if (folded === ':') {
      if (!roles.includes(read)) return line;
      return line.slice(0, i) + COLON + line.slice(i + character.length);
    }
    if (folded.trim() === '') blank ||= folded !== '' && read !== '';
    else {
      read += (blank ? ' ' : '') + folded;
      blank = false;
    }
    i += character.length;
  }
  return line;
}
