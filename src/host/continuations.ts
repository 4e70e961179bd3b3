/** Continuations by a host's actor: the host samples and rewards them while it waits for credit. */
import { tensor } from '../bridge/tensor.ts';
import type { Continuation, Continuations } from '../critic.ts';
import { tokensOf } from '../iteration/continuations.ts';
import { deriveSeed } from '../math/random.ts';
import type { State, Trajectory } from '../types.ts';
import { UserError } from '../user-error.ts';
import { Ragged } from '../workers/ragged.ts';
import { readTensor } from './batch.ts';
import type { AskHost } from './reverse-requests.ts';

export class HostContinuations implements Continuations {
  /** A host's task is not known here. */
  readonly exactValues = null;
  readonly #ask: AskHost;
  readonly #seed: number;
  /** The batch whose credit is assigned; null: the host waits for nothing. */
  #batch: readonly Trajectory[] | null = null;

  constructor(ask: AskHost, seed: number) {
    this.#ask = ask;
    this.#seed = seed;
  }

  /** Answers while `work` runs. @param batch the host's rows, in order */
  async during<R>(batch: readonly Trajectory[], work: () => Promise<R>): Promise<R> {
    this.#batch = batch;
    try {
      return await work();
    } finally {
      this.#batch = null;
    }
  }

  readonly sample: Continuations['sample'] = async (states, count, { purpose, iteration }) => {
    const batch = this.#batch;
    if (batch === null)
      throw new UserError('a host continues responses only while it waits for their credit');
    if (states.length === 0) return [];
    const prefixes = tokensOf(states).map(({ completionIds }) => completionIds);
    const cu = new Int32Array(states.length + 1);
    prefixes.forEach(({ length }, i) => {
      cu[i + 1] = cu[i]! + length;
    });
    const prefixIds = new Int32Array(cu.at(-1)!);
    prefixes.forEach((own, i) => {
      prefixIds.set(own, cu[i]);
    });
    const rows = Int32Array.from(states, (state) => rowOf(state, batch));
    const ids = states.map(({ id }) => id).join();
    const [seed] = deriveSeed(this.#seed, `continuations/${purpose}/${ids}`, iteration);
    const { result, tensors } = await this.#ask(
      'continue_responses',
      { count, seed },
      { rows: tensor(rows), prefix_ids: tensor(prefixIds), prefix_cu_seqlens: tensor(cu) },
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

/** The row of the batch that a state belongs to; else any of its group's that begins so. */
function rowOf({ id, trajectory, group, tokens }: State, batch: readonly Trajectory[]): number {
  const { promptIds, completionIds } = tokens!;
  const row =
    trajectory ??
    batch.findIndex((one) => one.group === group && beginsWith(one.completionIds, completionIds));
  const prompt = batch[row]?.promptIds;
  if (prompt?.length === promptIds.length && beginsWith(prompt, promptIds)) return row;
  throw new UserError(`state ${id} is of no response that the host waits for`);
}

const beginsWith = (ids: Int32Array, beginning: Int32Array) =>
  beginning.every((token, i) => token === ids[i]);
