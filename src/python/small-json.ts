/**
 * The values that pythonia may carry: strings and small plain JSON. Tensors, tokens and training
 * calls go to workers.
 */
import type { Json } from '../types.ts';

/** Largest number of characters of the JSON text of a call or a result. */
export const maxCharacters = 65_536;
/** Largest number of items of a list. */
export const maxItems = 256;

/**
 * @throws TypeError that names the place of a number that is not finite, an array of binary
 *   numbers, a long list, or anything else that is not plain JSON
 */
export function refuseWhatIsNotSmallJson(value: unknown, where: string): asserts value is Json {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number') {
    if (!Number.isFinite(value))
      throw new TypeError(`${where} is ${value}; numbers must be finite`);
    return;
  }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    throw new TypeError(
      `${where} is a ${value.constructor.name}; arrays do not go through pythonia, send them ` +
        'to a worker',
    );
  }
  if (Array.isArray(value)) {
    if (value.length > maxItems) {
      throw new TypeError(
        `${where} is a list of ${value.length} items, more than ${maxItems}; arrays do not ` +
          'go through pythonia, send them to a worker',
      );
    }
    for (const [i, item] of [...value].entries()) refuseWhatIsNotSmallJson(item, `${where}[${i}]`);
    return;
  }
  const prototype = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && prototype !== null) {
    const kind = prototype?.constructor?.name ?? typeof value;
    throw new TypeError(`${where} is a ${kind}; only plain JSON goes through pythonia`);
  }
  for (const [key, item] of Object.entries(value as object))
    refuseWhatIsNotSmallJson(item, `${where}.${key}`);
}
