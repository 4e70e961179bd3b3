/** Returns a reporter of troubles: it says one at most every few seconds, and counts the others. */
export function tellSometimes(say: (text: string) => void): (text: string) => void {
  let last = Number.NEGATIVE_INFINITY;
  let untold = 0;
  return (text) => {
    if (performance.now() - last < 5000) {
      untold++;
      return;
    }
    last = performance.now();
    say(`${text}${untold > 0 ? ` (and ${untold} more troubles)` : ''}`);
    untold = 0;
  };
}
