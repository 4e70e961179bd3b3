/**
 * Keys stay in environment variables: none in a config, and none in whatever is written or said.
 */

const names =
  /^(?:api_?key|openai_?api_?key|secret|client_?secret|password|authorization|bearer|access_?token|auth_?token|hf_?token|access_?key|subscription_?key)$/i;
const values = /^(?:Bearer\s+\S{8,}|(?:sk|gsk|xai|hf|pk)[-_][\w-]{16,})$/;

/** Is this what an option or a query parameter that holds a key would be called? */
export const keyLikeName = (name: string) => names.test(name.replaceAll('-', '_'));

/**
 * Parts of a URL, wherever it stands in a text: what is before its `@`, and what follows its path.
 * Bounded, so that no text takes long.
 */
const userInfo = /(:\/\/)[^\s/?#]*@/g;
const afterPath = /(:\/\/[^\s?#]{0,2000})[?#]\S*/g;
const keyInPath = /(:\/\/\S{0,2000}?[/=])(?:sk|gsk|xai|hf|pk)[-_][\w-]{16,}/g;
const parameter = /[?&;#]([\w-]+)=/g;

/** Does a URL in the text hold a user, a password or a key? */
export function holdsSecretUrl(text: string): boolean {
  if (!text.includes('://')) return false;
  if ([userInfo, keyInPath].some((part) => text.search(part) !== -1)) return true;
  const names = (text.match(afterPath) ?? []).flatMap((url) =>
    [...url.matchAll(parameter)].map(([, name]) => name!),
  );
  return names.some((name) => keyLikeName(name) || /^(?:key|token|sig|signature)$/i.test(name));
}

/** The text with URLs that name the server and the path alone. */
const withoutUrlSecrets = (text: string): string =>
  text
    .replace(userInfo, '$1(hidden)@')
    .replace(afterPath, '$1?(hidden)')
    .replace(keyInPath, '$1(hidden)');

/**
 * Where a config holds what looks like a key, in words that don't repeat it. Looks at the whole of
 * it: names such as `api_key` with text in them, and text such as `sk-...` anywhere.
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

/** For `JSON.stringify`: the values of options named like keys are left out. */
export function hideSecrets(name: string, value: unknown): unknown {
  if (/api_?key/i.test(name) && value !== undefined && value !== null) return '(hidden)';
  if (typeof value !== 'string') return value;
  return values.test(value) ? '(hidden)' : withoutUrlSecrets(value);
}

/** Below this a key is a placeholder such as `EMPTY`, which texts may well contain. */
const shortestSecret = 8;

/** A function that replaces a key in what a server said. */
export function redactor(key: string | null): (text: string) => string {
  if (key === null || key.length < shortestSecret) return (text) => text;
  const forms = [key, encodeURIComponent(key), Buffer.from(key).toString('base64')];
  return (text) => forms.reduce((clean, form) => clean.replaceAll(form, '(key)'), text);
}
