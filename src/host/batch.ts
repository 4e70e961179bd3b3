/**
 * A host's batch as trajectories: every length and range is checked, for nothing here made them.
 */
import type { HostArguments } from '../bridge/host-operations.ts';
import type { Tensors, TypedArray } from '../bridge/tensor.ts';
import type { RewardedTrajectory } from '../types.ts';
import { Ragged } from '../workers/ragged.ts';

/** @throws RangeError that says which tensor is wrong */
export function trajectoriesOf(
  {
    prompts,
    texts,
    finished,
  }: Pick<HostArguments<'assign_credit'>, 'prompts' | 'texts' | 'finished'>,
  tensors: Tensors,
): RewardedTrajectory[] {
  const count = texts.length;
  if (finished.length !== count)
    throw new RangeError(`there are ${count} texts, but finished has ${finished.length} entries`);
  const cu = readTensor(tensors, 'cu_seqlens', Int32Array, count + 1);
  if (cu[0] !== 0 || cu.some((offset, i) => i > 0 && offset < cu[i - 1]!))
    throw new RangeError('cu_seqlens must begin with 0 and never fall');
  const tokens = cu.at(-1)!;
  const ids = readTensor(tensors, 'completion_ids', Int32Array, tokens);
  const ends = readTensor(tensors, 'text_ends', Int32Array, tokens);
  const groups = readTensor(tensors, 'problems', Int32Array, count);
  const rewards = readTensor(tensors, 'rewards', Float64Array, count);
  const mask = tensors.actor_mask ? readTensor(tensors, 'actor_mask', Uint8Array, tokens) : null;
  const promptIds = tensors.prompt_ids ? promptsOf(tensors, prompts.length) : null;
  const logprobs = tensors.logprobs ? readTensor(tensors, 'logprobs', Float32Array, tokens) : null;
  return texts.map((text, i) => {
    const group = groups[i]!;
    const prompt = prompts[group];
    if (prompt === undefined)
      throw new RangeError(
        `trajectory ${i} is of problem ${group}, but there are ${prompts.length}`,
      );
    const reward = rewards[i]!;
    if (!(reward >= 0 && reward <= 1))
      throw new RangeError(`trajectory ${i} has the reward ${reward}, which is not in [0, 1]`);
    const [from, to] = [cu[i]!, cu[i + 1]!];
    const textEnds = ends.subarray(from, to);
    if (to > from && textEnds.at(-1) !== text.length)
      throw new RangeError(
        `the text of trajectory ${i} has ${text.length} UTF-16 units, but its tokens end at ` +
          `${textEnds.at(-1)}`,
      );
    return {
      problem: { id: `p${group}`, prompt, columns: {} },
      group,
      promptIds: promptIds?.at(group) ?? null,
      completionIds: ids.subarray(from, to),
      logprobs: logprobs?.subarray(from, to) ?? null,
      textEnds,
      actorMask: mask?.subarray(from, to) ?? null,
      text,
      finishReason: finished[i] ? 'stop_token' : 'length',
      reward,
    };
  });
}

function promptsOf(tensors: Tensors, count: number): Ragged<Int32Array> {
  const prompts = new Ragged(tensors, 'prompt_ids', 'prompt_cu_seqlens', Int32Array);
  if (prompts.count === count) return prompts;
  throw new RangeError(`there are ${count} prompts, but the ids of ${prompts.count}`);
}

/** @throws RangeError where the tensor is missing, or has another type or length */
export function readTensor<A extends TypedArray>(
  tensors: Tensors,
  name: string,
  type: abstract new (...args: never[]) => A,
  length: number,
): A {
  const data = tensors[name]?.data;
  if (!(data instanceof type))
    throw new RangeError(`there is no tensor "${name}" of the right type`);
  if (data.length !== length)
    throw new RangeError(`the tensor "${name}" has ${data.length} entries, not ${length}`);
  return data;
}
