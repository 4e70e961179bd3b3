/** Makes text from others (responses, prompts, a critic's words) safe for a terminal and a page. */

/**
 * C0 except tab and line feed, DEL, C1, marks of text direction, line separators, zero-width
 * characters.
 */
const hidden =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;
/** As `hidden`, with halves of surrogate pairs. */
const hiddenOrHalf = new RegExp(`${hidden.source}|\\p{Surrogate}`, 'u');
const lineOrHidden = new RegExp(`[\\n\\t]|${hiddenOrHalf.source}`, 'u');

/** 1 for each UTF-16 unit that is hidden. */
let hiddenUnits: Uint8Array | null = null;

const isHigh = (unit: number) => unit >= 0xd800 && unit <= 0xdbff;
const isLow = (unit: number) => unit >= 0xdc00 && unit <= 0xdfff;
/** Returns the UTF-16 unit of a hexadecimal digit. */
const digitOf = (value: number) => (value < 10 ? 48 : 87) + value;

/**
 * Escapes characters that could steer a terminal, or hide or reorder text, such as `\u001b`; tabs
 * and line feeds stay.
 */
export const printable = (text: string): string => escaped(text, text.search(hiddenOrHalf), false);

/** As `printable`, on one line. */
export const printableLine = (text: string): string =>
  escaped(text, text.search(lineOrHidden), true);

/**
 * Cuts a text to `longest` UTF-16 units, with a mark that says how much was cut; never within a
 * character.
 */
export function shortText(text: string, longest: number): string {
  if (text.length <= longest) return text;
  const at = isHigh(text.charCodeAt(longest - 1)) ? longest - 1 : longest;
  return `${text.slice(0, at)} [... ${(text.length - at).toLocaleString('en')} more characters]`;
}

/**
 * Writes UTF-16 units, because a concatenation of a million escapes would block the event loop.
 *
 * @param first index of the first character to escape; below 0: there is none
 */
function escaped(text: string, first: number, oneLine: boolean): string {
  if (first < 0) return text;
  hiddenUnits ??= Uint8Array.from({ length: 0x10000 }, (_, unit) =>
    hidden.test(String.fromCharCode(unit)) ? 1 : 0,
  );
  const units = new Uint16Array(6 * (text.length - first));
  let length = 0;
  for (let i = first; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (isHigh(unit) && isLow(text.charCodeAt(i + 1))) {
      units[length++] = unit;
      units[length++] = text.charCodeAt(++i);
    } else if (hiddenUnits[unit] === 1 || isHigh(unit) || isLow(unit)) {
      units[length++] = 0x5c;
      units[length++] = 0x75;
      for (let shift = 12; shift >= 0; shift -= 4) units[length++] = digitOf((unit >> shift) & 15);
    } else if (oneLine && unit === 0x0a) {
      units[length++] = 0x5c;
      units[length++] = 0x6e;
    } else units[length++] = oneLine && unit === 0x09 ? 0x20 : unit;
  }
  return text.slice(0, first) + Buffer.from(units.buffer, 0, 2 * length).toString('utf16le');
}
