/** Text of others (responses, prompts, a critic's words) made fit for a terminal and a page. */

/** C0 but tab and line feed, DEL, C1, marks that turn the direction of writing, line separators, zero-width characters, halves of surrogate pairs. */
const hidden =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\p{Surrogate}/gu;

/** Characters that could steer a terminal, or hide or reorder what is read, become escapes such as `\u001b`; tabs and line feeds stay. */
export const printable = (text: string): string =>
  text.replace(hidden, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** The same on one line. */
export const printableLine = (text: string): string =>
  printable(text).replaceAll('\n', '\\n').replaceAll('\t', ' ');
