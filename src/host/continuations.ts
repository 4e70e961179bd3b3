/** Continuations by a host's actor: the host samples and rewards them while it waits for credit. */
import { tensor } from '../bridge/tensor.ts';
import type { Continuation, Continuations } from '../critic.ts';
import { tokensOf } from '../iteration/continuations.ts';
import { deriveSeed } from '../math/random.ts';
import type { State } from '../types.ts';
import { UserError } from '../user-error.ts';
import { Ragged } from '../workers/ragged.ts';
import { readTensor } from './batch.ts';
import type { AskHost } from './reverse-requests.ts';

export class HostContinuations implements Continuations {
  readonly #ask: AskHost;
  readonly #seed: number;
  /** Groups of the batch whose credit is assigned; null: the host waits for nothing. */
  #groups: readonly number[] | null = null;

  constructor(ask: AskHost, seed: number) {
    this.#ask = ask;
    this.#seed = seed;
  }

  /** Answers while `work` goes on. @param groups of the batch's rows, in order */
  async during<R>(groups: readonly number[], work: () => Promise<R>): Promise<R> {
    this.#groups = groups;
    try {
      return await work();
    } finally {
      this.#groups = null;
    }
  }

  readonly sample: Continuations['sample'] = async (states, count, { purpose, iteration }) => {
    const groups = this.#groups;
    if (groups === null)
      throw new UserError('a host continues responses only while it waits for their credit');
    if (states.length === 0) return [];
    const prefixes = tokensOf(states).map(({ completionIds }) => completionIds);
    const cu = new Int32Array(states.length + 1);
    prefixes.forEach(({ length }, i) => {
      cu[i + 1] = cu[i]! + length;
    });
    const ids = new Int32Array(cu.at(-1)!);
    prefixes.forEach((own, i) => {
      ids.set(own, cu[i]);
    });
    const rows = Int32Array.from(states, (state) => rowOf(state, groups));
    const [seed] = deriveSeed(this.#seed, `continuations/${purpose}`, iteration);
    const { result, tensors } = await this.#ask(
      'continue_responses',
      { count, seed },
      { rows: tensor(rows), prefix_ids: tensor(ids), prefix_cu_seqlens: tensor(cu) },
    );
    const total = states.length * count;
    const rewards = readTensor(tensors, 'rewards', Float64Array, total);
    const completions = new Ragged(tensors, 'completion_ids', 'completion_cu_seqlens', Int32Array);
    if (completions.count !== total || result.texts.length !== total)
      throw new RangeError(
        `the host gave ${completions.count} completions and ${result.texts.length} texts for ` +
          `${total}`,
      );
    const all = result.texts.map((text, i): Continuation => {
      const reward = rewards[i]!;
      if (!Number.isNaN(reward) && !(reward >= 0 && reward <= 1))
        throw new RangeError(`the host gave the reward ${reward}, which is not in [0, 1]`);
      return {
        text,
        completionIds: completions.at(i),
        reward: Number.isNaN(reward) ? null : reward,
      };
    });
    return states.map((_, i) => all.slice(i * count, (i + 1) * count));
  };
}

/** The row of the batch that a state belongs to; any of its group's for a shared first state. */
function rowOf({ id, trajectory, group }: State, groups: readonly number[]): number {
  const row = trajectory ?? groups.indexOf(group);
  if (row >= 0 && row < groups.length) return row;
  throw new UserError(`state ${id} is of no response that the host waits for`);
}
