"""This process's completions, as TRL made them, and their advantages, as TRL takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from genac_bridge.host.batch import Row, plain_prompt

from .critic_model import reads_log_probabilities
from .trl_internals import log_probabilities, stop_tokens


def rows_of(trainer: Any, output: dict[str, Any], seen: dict[str, Any]) -> list[Row]:
    """Returns one row for each completion. Texts and offsets come from TRL's token ids; nothing is
    tokenized again.

    `seen`: what the reward functions were given (`prompts`, and `ids` of the completions).
    """
    ids = [np.asarray(own, np.int32) for own in seen["ids"]]
    texts, ends = trainer._decoded(ids)
    masks = output.get("tool_mask")
    logprobs = _log_probabilities(trainer, output, seen["ids"])
    stops = stop_tokens(trainer)
    prompts = [
        own[mask.bool()].to(torch.int32).cpu().numpy()
        for own, mask in zip(output["prompt_ids"], output["prompt_mask"], strict=True)
    ]
    return [
        Row(
            prompt=plain_prompt(prompt),
            ids=own,
            text=text,
            ends=end,
            mask=None if masks is None else masks[i, : len(own)].to(torch.uint8).cpu().numpy(),
            logprobs=None if logprobs is None else logprobs[i, : len(own)].float().cpu().numpy(),
            finished=len(own) > 0 and int(own[-1]) in stops,
            prompt_ids=prompts[i],
        )
        for i, (prompt, own, text, end) in enumerate(
            zip(seen["prompts"], ids, texts, ends, strict=True)
        )
    ]


def _log_probabilities(
    trainer: Any, output: dict[str, Any], ids: list[list[int]]
) -> torch.Tensor | None:
    """Returns float32 [B, T]; None: TRL has none, and the options ask for none. In all processes
    together.
    """
    sampler: torch.Tensor | None = output.get("sampling_per_token_logps")
    if sampler is not None:
        return sampler
    known: torch.Tensor | None = output.get("old_per_token_logps")
    if not reads_log_probabilities(trainer.args):
        return known
    if known is not None:
        # TRL's own are of no use where it masks a whole completion. All processes compute, or none.
        masked = bool((output["completion_mask"].sum(dim=1) == 0).any())
        if not any(gather_object([masked])):
            return known
    return log_probabilities(trainer, output, ids)


def padded(advantages: list[np.ndarray], like: torch.Tensor) -> torch.Tensor:
    """Returns float32 [B, T] in the shape of the completions `like`, zeros at the padding on the
    right.
    """
    result = torch.zeros(like.shape, dtype=torch.float32)
    for row, own in zip(result, advantages, strict=True):
        row[: len(own)] = torch.from_numpy(own.copy())
    return result.to(like.device)
