/**
 * Returns a function that gives the same as `f`, and reuses the last result if the arguments are
 * those of the last call (`===`). For pure functions of what most states of an iteration share.
 */
export function rememberLast<A extends readonly unknown[], R>(
  f: (...given: A) => R,
): (...given: A) => R {
  let last: { given: A; result: R } | null = null;
  return (...given) => {
    if (last !== null && given.every((value, i) => value === last!.given[i])) return last.result;
    last = { given, result: f(...given) };
    return last.result;
  };
}
