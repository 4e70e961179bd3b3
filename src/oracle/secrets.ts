/** Keys stay in environment variables: none in a config, and none in whatever is written or said. */

const names =
  /^(?:api_?key|openai_?api_?key|secret|client_?secret|password|authorization|bearer|access_?token|auth_?token|hf_?token)$/i;
const values = /^(?:Bearer\s+\S{8,}|(?:sk|gsk|xai|hf|pk)[-_][\w-]{16,})$/;

/** Is this what an option or a query parameter that holds a key would be called? */
export const keyLikeName = (name: string) => names.test(name.replaceAll('-', '_'));

/**
 * Where a config holds what looks like a key, in words that don't repeat it. Looks at the whole of it: names such as `api_key` with text in them, and text such
 * as `sk-...` anywhere.
 */
export function secretsIn(config: unknown, path: readonly string[] = []): string[] {
  if (typeof config === 'string') return values.test(config) ? [refusal(path)] : [];
  if (config === null || typeof config !== 'object') return [];
  return Object.entries(config).flatMap(([name, value]) => {
    const inner = [...path, values.test(name) ? '(hidden)' : name];
    const named = keyLikeName(name) && typeof value === 'string' && value !== '';
    return named ? [refusal(inner)] : secretsIn(value, inner);
  });
}

const refusal = (path: readonly string[]) =>
  `${path.join('.')}: looks like a key. A config is copied into the run's folder, so a key does not belong in it: put it into an environment variable, ` +
  'and name that one (api_key_env: OPENAI_API_KEY)';

/** For `JSON.stringify`: the values of options named like keys are left out. */
export function hideSecrets(name: string, value: unknown): unknown {
  if (/api_?key/i.test(name) && value !== undefined && value !== null) return '(hidden)';
  return typeof value === 'string' && values.test(value) ? '(hidden)' : value;
}

/** Below this a key is a placeholder such as `EMPTY`, which texts may well contain. */
const shortestSecret = 8;

/** A function that replaces a key in what a server said. */
export function redactor(key: string | null): (text: string) => string {
  if (key === null || key.length < shortestSecret) return (text) => text;
  const forms = [key, encodeURIComponent(key), Buffer.from(key).toString('base64')];
  return (text) => forms.reduce((clean, form) => clean.replaceAll(form, '(key)'), text);
}
