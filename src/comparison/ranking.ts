/** Top-1 ranking: pools of responses to one problem, of which one is right. */

interface Ranked {
  readonly value: number;
  readonly right: boolean;
}

/**
 * The chance that the right one has the highest value, over all pools of `size` that can be drawn
 * from these responses to one problem; of equal values, each is as likely.
 *
 * @returns in [0, 1]; null: there is no such pool
 */
export function rankedFirst(responses: readonly Ranked[], size: number): number | null {
  const right = responses.filter((one) => one.right);
  const wrong = responses.filter((one) => !one.right);
  if (right.length === 0 || wrong.length < size - 1) return null;
  let sum = 0;
  for (const { value } of right) {
    const below = wrong.filter((other) => other.value < value - 1e-9).length;
    const equal = wrong.filter((other) => Math.abs(other.value - value) <= 1e-9).length;
    sum += first(below, equal, wrong.length, size - 1);
  }
  return sum / right.length;
}

/**
 * `drawn` of `all` wrong ones: none may be above, and of `ties` equal ones and the right one, each
 * is first alike. Sums over the number of ties (hypergeometric).
 */
function first(below: number, equal: number, all: number, drawn: number): number {
  let chance = 0;
  for (let ties = 0; ties <= Math.min(equal, drawn); ties++) {
    if (drawn - ties > below) continue;
    chance += (choose(equal, ties) * choose(below, drawn - ties)) / (1 + ties);
  }
  return chance / choose(all, drawn);
}

function choose(n: number, k: number): number {
  let result = 1;
  for (let i = 0; i < k; i++) result = (result * (n - i)) / (i + 1);
  return result;
}
