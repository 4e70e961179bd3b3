/**
 * Folds text to what a reader sees: full-width forms, capitals, accents, look-alike letters of
 * other scripts and invisible characters, so that a mark is found in every spelling.
 */

/**
 * Letters of other scripts that look like those of a tag (from Unicode TR 39's confusables of a-z).
 * A capital is listed if it looks like another letter than its lower case does.
 */
const alike: readonly (readonly [string, string])[] = Object.entries({
  a: 'аɑαᴀᎪꓮⲁ⍺',
  b: 'ЬьвᏴꓐƀɓ',
  c: 'сϲᴄᏟꓚⲥȼƈ𐐽',
  d: 'ԁᴅᎠꓓđɗ',
  e: 'еєεᴇᎬꓰⲉɛ℮ҽɇ',
  f: 'ꜰꓝꞙƒք',
  g: 'ɡɢᏀꓖցɠ',
  h: 'һʜнΗᎻꓧհħ',
  i: 'іıɩιɪᎥꓲⲓɨ',
  j: 'јᴊᎫꓙɉ',
  k: 'кκᴋᏦꓗⲕƙ',
  l: 'ӏʟᏞꓡłɫ',
  m: 'мᴍΜᎷꓟⲙ',
  n: 'ոռɴηΝꓠⲛɲ',
  o: 'оοσօᴏꓳⲟøɵჿ',
  p: 'рρᴘϱᏢꓑⲣƥ',
  r: 'гʀᎡᏒꓣᴦⲅɍꭇ',
  s: 'ѕꜱςᏚᏕꓢʂȿƽ𐑈',
  t: 'тτᴛᎢꓔⲧŧƭ',
  u: 'υսᴜꓴʋ',
  v: 'ѵνᴠᏙꓦ',
  w: 'ԝᴡᎳᏔꓪⲱ',
  x: 'хχꓫⲭ',
  y: 'уγʏΥᎽꓬⲩ',
  z: 'ᴢΖᏃꓜ',
  '<': '˂ᐸ⟨〈〈❮❰ᗕ❬⟪《⧼⦑ᚲ',
  '>': '˃ᐳ⟩〉〉❯❱❭⟫》⧽⦒',
  '/': '∕⁄⧸',
  ':': '꞉ː',
}).flatMap(([plain, letters]) => [...letters].map((letter) => [letter, plain] as const));

/** Listed characters take precedence over lower-case forms of listed characters. */
const lookAlikes = new Map([
  ...alike.map(([letter, plain]) => [letter.toLowerCase(), plain] as const),
  ...alike,
]);

/** First code points of the alphabets in circles and squares (white on black) and in flags. */
const alphabets = [0x1f150, 0x1f170, 0x1f1e6];

/** Characters without a glyph: format characters, marks on letters, controls, fillers. */
const invisible = /[\p{Cf}\p{Cc}\p{M}\p{Default_Ignorable_Code_Point}\u2800\p{Surrogate}]/gu;
const lineEnds = new Set('\n\r\v\f\u001c\u001d\u001e\u0085\u2028\u2029');
const known = new Map<string, string>();

/**
 * Returns what a reader takes one character (code point) for.
 *
 * @returns '' for an invisible character, a line feed for each kind of line end, lower-case
 *   compatibility characters
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
  const compatible = character.normalize('NFKD').replace(invisible, '');
  return [...compatible].map(looksLike).join('');
}

/**
 * Returns the plain letter or mark that a character looks like, or its lower case if there is none.
 */
function looksLike(character: string): string {
  const plain = lookAlikes.get(character);
  if (plain !== undefined) return plain;
  const code = character.codePointAt(0)!;
  const first = alphabets.find((start) => code >= start && code < start + 26);
  if (first !== undefined) return String.fromCharCode(0x61 + code - first);
  const lower = character.toLowerCase();
  return lookAlikes.get(lower) ?? lower;
}
