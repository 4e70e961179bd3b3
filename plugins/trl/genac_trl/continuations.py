"""Responses continued with TRL's own sampling, and scored with its reward functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from genac_bridge.host.batch import Row
from genac_bridge.host.continuations import Continuations, Wanted

from .trl_internals import completions_of, limited_to, sampled, stop_tokens, undisturbed


def why_none(tools: Any, rollout_func: Any, environment_factory: Any) -> str | None:
    """Returns a sentence that says why these rule continuations out; None: they don't."""
    if rollout_func is not None:
        return "responses can't be continued: `rollout_func` writes whole ones only"
    if environment_factory is not None:
        return (
            "responses can't be continued: an environment of `environment_factory` can't be put "
            "back to the middle of one"
        )
    if tools:
        return "responses can't be continued: `tools` can't be put back to the middle of one"
    return None


def continued(
    trainer: Any, rows: Sequence[Row], inputs: list[dict[str, Any]], wanted: Wanted
) -> Continuations:
    """Returns what `HostTrainer.continue_responses` gives. In all processes; each does a part of
    the sampling and of the scoring.

    `rows`: the batch's, of all processes. `inputs`: this process's rows of the data set, one for
    each of its responses. Equal seeds give equal completions where there are as many processes;
    vLLM draws by itself, and gives others.
    """
    owners = [row for row in wanted.rows for _ in range(wanted.count)]
    begun = [prefix.tolist() for prefix in wanted.prefixes for _ in range(wanted.count)]
    if not owners:
        return Continuations([], [], np.zeros(0))
    process = trainer.accelerator.process_index
    seed = int(np.random.SeedSequence([wanted.seed, process]).generate_state(1)[0])
    with undisturbed(trainer, seed):
        new = _completed(trainer, [_prompt_ids(rows[owner]) for owner in owners], begun, inputs)
        whole = [before + own for before, own in zip(begun, new, strict=True)]
        examples = _examples(trainer, inputs, set(owners))
        scored = []
        for numbers in parts(trainer, len(owners), len(inputs)):
            given = [examples[owners[i]] for i in numbers]
            prompt_ids = [_prompt_ids(rows[owners[i]]) for i in numbers]
            scored.append(
                per_function_rewards(trainer, given, prompt_ids, [whole[i] for i in numbers])
            )
    per_function = _in_order(trainer, scored)[: len(owners)]
    rewards = trainer.reward_range.to_unit(
        per_function, trainer.reward_weights, trainer.reward_func_names, learn=False
    )
    texts, _ = trainer._decoded([np.asarray(ids, np.int32) for ids in whole])
    return Continuations(texts, [np.asarray(ids, np.int32) for ids in new], rewards)


def per_function_rewards(
    trainer: Any, examples: list[dict[str, Any]], prompt_ids: list[list[int]], ids: list[list[int]]
) -> torch.Tensor:
    """Returns float32 [N of all processes, functions], NaN where a function does not apply: TRL's
    rewards of responses `ids` to the data set's rows `examples`.
    """
    prompts = [example["prompt"] for example in examples]
    completions = completions_of(trainer, prompts, prompt_ids, ids)
    rewards: torch.Tensor = trainer._calculate_rewards(examples, prompts, completions, ids)
    return rewards


def _completed(
    trainer: Any, prompts: list[list[int]], begun: list[list[int]], inputs: list[Any]
) -> list[list[int]]:
    """Returns the new tokens of each response; none if it has ended or has the maximum length."""
    limit, stops = trainer.max_completion_length, stop_tokens(trainer)
    open_ones = [
        i
        for i, before in enumerate(begun)
        if len(before) < limit and not (before and before[-1] in stops)
    ]
    new: list[list[int]] = [[] for _ in begun]
    if not open_ones:
        return new
    room = max(limit - len(begun[i]) for i in open_ones)
    own: list[list[int]] = []
    with limited_to(trainer, room):
        for numbers in parts(trainer, len(open_ones), len(inputs)):
            chosen = [open_ones[n] for n in numbers]
            own += sampled(trainer, [prompts[i] + begun[i] for i in chosen])
    for i, ids in zip(open_ones, gather_object(own), strict=False):
        new[i] = ids[: limit - len(begun[i])]
    return new


def parts(trainer: Any, count: int, size: int) -> Iterator[list[int]]:
    """Yields the numbers below `count` that this process is to do, at most `size` at a time. Each
    process has as many, for what they do together; beyond the last number, the first ones come
    again.
    """
    each = -(-count // trainer.accelerator.num_processes)
    first = trainer.accelerator.process_index * each
    numbers = [i % count for i in range(first, first + each)]
    for start in range(0, each, size):
        yield numbers[start : start + size]


def _in_order(trainer: Any, given: list[torch.Tensor]) -> torch.Tensor:
    """Returns what all processes gave for each of their `parts`, in the order of the numbers."""
    processes = trainer.accelerator.num_processes
    split = [part.reshape(processes, -1, part.shape[-1]) for part in given]
    return torch.cat(split, dim=1).flatten(0, 1)


def _examples(
    trainer: Any, inputs: list[dict[str, Any]], wanted: set[int]
) -> dict[int, dict[str, Any]]:
    """Returns the rows of the data set of these responses, wherever they are."""
    first = trainer.accelerator.process_index * len(inputs)
    own = [(first + i, example) for i, example in enumerate(inputs) if first + i in wanted]
    return dict(gather_object(own))


def _prompt_ids(row: Row) -> list[int]:
    assert row.prompt_ids is not None  # `rows_of` knows them
    ids: list[int] = row.prompt_ids.tolist()
    return ids
