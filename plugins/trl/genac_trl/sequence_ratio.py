"""`importance_sampling_level="sequence"` with an advantage for each token:

GSPO-token (arXiv 2507.18071, eq. 13-14).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def sequence_ratios(trainer: Any, inputs: dict[str, Any]) -> Iterator[None]:
    """Within, GRPOTrainer's loss uses the sequence's ratio for each token, and the gradient goes
    through that token alone.

    The ratio of token t is sg[s] * p_t / sg[p_t], where s = exp(mean over the completion of log p -
    log p_old) and sg stops the gradient. TRL computes exp(log p_t - old_t) at the level of tokens,
    which is that ratio where old_t = sg[log p_t] - log s. `inputs` and the trainer are as before at
    the end.
    """
    completion_mask = inputs["completion_mask"]
    mask = completion_mask * inputs["tool_mask"] if "tool_mask" in inputs else completion_mask
    before = inputs.get("old_per_token_logps")
    compute = trainer._get_per_token_logps_and_entropies

    def computed(*given: Any, **options: Any) -> Any:
        result = compute(*given, **options)
        own = result[0].detach()
        old = own if before is None else before
        mean = ((own - old) * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(
            min=1.0
        )
        inputs["old_per_token_logps"] = own - mean
        return result

    level = trainer.importance_sampling_level
    trainer._get_per_token_logps_and_entropies = computed
    trainer.importance_sampling_level = "token"
    try:
        yield
    finally:
        del trainer._get_per_token_logps_and_entropies
        trainer.importance_sampling_level = level
        if before is None:
            inputs.pop("old_per_token_logps", None)
        else:
            inputs["old_per_token_logps"] = before


def broadcast(advantages: torch.Tensor, output: dict[str, Any]) -> torch.Tensor:
    """Returns one advantage for each completion [B] as float32 [B, T]; 0 where the actor did not
    write the token.
    """
    mask = output["completion_mask"]
    if "tool_mask" in output:
        mask = mask * output["tool_mask"]
    return advantages.unsqueeze(1).float() * mask.float()
