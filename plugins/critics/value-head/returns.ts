/** The lambda-returns that a value head learns (Schulman 2016, GAE; gamma = 1). */
import { groupBy, mean, type Outcome } from '../../../src/plugin-api.ts';

/**
 * G_k = (1 - lambda) V(s_{k+1}) + lambda G_{k+1}, and r behind the last state. A first state that a
 * group shares has the mean over the group's responses.
 *
 * @returns one number for each outcome, in [0, 1]
 */
export function lambdaReturns(outcomes: readonly Outcome[], lambda: number): Float64Array {
  const returns = Float64Array.from(outcomes, ({ rewards }) => mean(rewards));
  if (lambda === 1) return returns;
  const own = [...outcomes.keys()].filter((i) => outcomes[i]!.state.trajectory !== null);
  /**
   * Of each group: what its responses add to the return of the first state, beyond their reward.
   */
  const beyond = new Map<number, number>();
  for (const members of groupBy(own, (i) => outcomes[i]!.state.trajectory!).values()) {
    members.sort((a, b) => outcomes[b]!.state.index - outcomes[a]!.state.index);
    const [reward] = outcomes[members[0]!]!.rewards;
    let [value, after] = [reward!, reward!];
    for (const i of members) {
      returns[i] = (1 - lambda) * value + lambda * after;
      [value, after] = [outcomes[i]!.valuation.value, returns[i]!];
    }
    const { group, index } = outcomes[members.at(-1)!]!.state;
    if (index === 0) continue;
    const return0 = (1 - lambda) * value + lambda * after;
    beyond.set(group, (beyond.get(group) ?? 0) + return0 - reward!);
  }
  for (const [i, { state, rewards }] of outcomes.entries())
    if (state.trajectory === null && state.index === 0)
      returns[i] = returns[i]! + (beyond.get(state.group) ?? 0) / rewards.length;
  return returns;
}
