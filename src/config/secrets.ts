/** Keeps keys in environment variables: no config holds a key, and none is written or printed. */

const names =
  /^(?:api_?key|openai_?api_?key|secret|client_?secret|password|authorization|bearer|access_?token|auth_?token|hf_?token|access_?key|subscription_?key)$/i;
const values = /^(?:Bearer\s+\S{8,}|(?:sk|gsk|xai|hf|pk)[-_][\w-]{16,})$/;

/** Returns whether an option or a query parameter of this name may hold a key. */
export const keyLikeName = (name: string) => names.test(name.replaceAll('-', '_'));

/**
 * Parts of a URL anywhere in a text: before its `@`, and after its path. Bounded, so that no text
 * takes long.
 */
const userInfo = /(:\/\/)[^\s/?#]*@/g;
const afterPath = /(:\/\/[^\s?#]{0,2000})[?#]\S*/g;
const keyInPath = /(:\/\/\S{0,2000}?[/=])(?:sk|gsk|xai|hf|pk)[-_][\w-]{16,}/g;
const parameter = /[?&;#]([\w-]+)=/g;

/** Returns whether a URL in the text holds a user, a password or a key. */
export function holdsSecretUrl(text: string): boolean {
  if (!text.includes('://')) return false;
  if ([userInfo, keyInPath].some((part) => text.search(part) !== -1)) return true;
  const names = (text.match(afterPath) ?? []).flatMap((url) =>
    [...url.matchAll(parameter)].map(([, name]) => name!),
  );
  return names.some((name) => keyLikeName(name) || /^(?:key|token|sig|signature)$/i.test(name));
}

/** The text with URLs cut to the server and the path. */
const withoutUrlSecrets = (text: string): string =>
  text
    .replace(userInfo, '$1(hidden)@')
    .replace(afterPath, '$1?(hidden)')
    .replace(keyInPath, '$1(hidden)');

/**
 * Describes where a config holds what looks like a key, without repeating it. Looks at the whole
 * config: names such as `api_key` with a text, and texts such as `sk-...` anywhere.
 */
export function secretsIn(config: unknown, path: readonly string[] = []): string[] {
  if (typeof config === 'string')
    return values.test(config) || holdsSecretUrl(config) ? [refusal(path)] : [];
  if (config === null || typeof config !== 'object') return [];
  return Object.entries(config).flatMap(([name, value]) => {
    const inner = [...path, values.test(name) ? '(hidden)' : withoutUrlSecrets(name)];
    if (holdsSecretUrl(name)) return [refusal(inner)];
    const named = keyLikeName(name) && typeof value === 'string' && value !== '';
    return named ? [refusal(inner)] : secretsIn(value, inner);
  });
}

const refusal = (path: readonly string[]) =>
  `${path.join('.')}: looks like a key, or like a URL with one in it. A config is copied into the run's folder, so a key does not belong in it: put it into an environment variable, ` +
  'and name that one (api_key_env: OPENAI_API_KEY)';

/** Replacer for `JSON.stringify` that leaves out the values of options named like keys. */
export function hideSecrets(name: string, value: unknown): unknown {
  if (/api_?key/i.test(name) && value !== undefined && value !== null) return '(hidden)';
  if (typeof value !== 'string') return value;
  return values.test(value) ? '(hidden)' : withoutUrlSecrets(value);
}

/** A shorter key is a placeholder such as `EMPTY`, which other texts may contain. */
const shortestSecret = 8;

/**
 * Returns a function that replaces the key in a server's text, also where JSON, a URL or HTML spell
 * its characters in other ways.
 *
 * @param given with or without white space around it: a header has none there
 */
export function redactor(given: string | null): (text: string) => string {
  const key = given?.trim() ?? '';
  if (key.length < shortestSecret) return (text) => text;
  const forms = [key, Buffer.from(key).toString('base64')];
  const anyForm = new RegExp(
    forms.map((form) => [...form].map(spellings).join('')).join('|'),
    'giu',
  );
  return (text) => text.replace(anyForm, '(key)');
}

const namedInHtml = new Map([
  ['&', 'amp'],
  ['<', 'lt'],
  ['>', 'gt'],
  ['"', 'quot'],
  ["'", 'apos'],
]);

/** Pattern of a character: as such, and as JSON, a URL and HTML write it. */
function spellings(character: string): string {
  if (/\w/.test(character)) return character;
  const code = character.codePointAt(0)!;
  const hex = code.toString(16);
  const bytes = [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`);
  const name = namedInHtml.get(character);
  const html = `&(?:#0*${code}|#x0*${hex}${name ? `|${name}` : ''});`;
  return `(?:\\\\?\\u{${hex}}|\\\\u0*${hex}|${bytes.join('')}|${html})`;
}
