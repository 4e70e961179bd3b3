/**
 * Text as a reader takes it: full-width forms, capitals, accents, look-alike letters of other
 * scripts and invisible characters are folded away, so that a mark is found however it is written.
 */

/** Letters of other scripts that look like those of a tag (Unicode TR 39's confusables of a-z). */
const lookAlikes = new Map<string, string>(
  Object.entries({
    a: 'аɑαᴀ',
    b: 'Ььв',
    c: 'сϲᴄ',
    d: 'ԁᴅ',
    e: 'еєεᴇ',
    f: 'ꜰ',
    g: 'ɡɢ',
    h: 'һʜ',
    i: 'іıɩιɪ',
    j: 'јᴊ',
    k: 'кκᴋ',
    l: 'ӏʟ',
    m: 'мᴍ',
    n: 'ոռɴ',
    o: 'оοσօᴏ',
    p: 'рρᴘ',
    r: 'гʀ',
    s: 'ѕꜱ',
    t: 'тτᴛ',
    u: 'υսᴜ',
    v: 'ѵνᴠ',
    w: 'ԝᴡ',
    x: 'хχ',
    y: 'уγʏ',
    z: 'ᴢ',
    '<': '˂ᐸ⟨〈〈❮❰ᗕ',
    '>': '˃ᐳ⟩〉〉❯❱',
    '/': '∕⁄⧸',
  }).flatMap(([plain, alike]) => [...alike].map((character) => [character, plain])),
);

/** Shown as nothing or as a blank: format characters, marks on letters, controls, fillers. */
const invisible = /[\p{Cf}\p{Cc}\p{M}\p{Default_Ignorable_Code_Point}\u2800\p{Surrogate}]/gu;
const lineEnds = new Set('\n\r\v\f\u001c\u001d\u001e\u0085\u2028\u2029');
const known = new Map<string, string>();

/**
 * What a reader takes one character (code point) for.
 * @returns '' for what is not seen, a line feed for each kind of line end, lower-case compatibility
 * characters
 */
export function foldCharacter(character: string): string {
  const seen = known.get(character);
  if (seen !== undefined) return seen;
  const folded = foldOther(character);
  // More different characters than a text of any language has.
  if (known.size < 20_000) known.set(character, folded);
  return folded;
}

function foldOther(character: string): string {
  if (lineEnds.has(character)) return '\n';
  if (character === '\t') return ' ';
  const compatible = character.normalize('NFKD').replace(invisible, '').toLowerCase();
  return [...compatible].map((part) => lookAlikes.get(part) ?? part).join('');
}
