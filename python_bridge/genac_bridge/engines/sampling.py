"""From logits to a token, given one uniform number a row."""

from __future__ import annotations

import torch
from torch import Tensor


def keep_top_k(probabilities: Tensor, k: int) -> Tensor:
    """Zeroes all but the k most likely tokens of each row [B, V]; ties with the k-th are kept."""
    if k >= probabilities.shape[1]:
        return probabilities
    smallest = probabilities.topk(k, dim=1).values[:, -1:]
    return probabilities.where(probabilities >= smallest, 0.0)


def keep_top_p(probabilities: Tensor, p: float) -> Tensor:
    """Nucleus sampling (Holtzman 2020): the shortest list of most likely tokens whose mass reaches
    p of the row's mass.
    """
    ordered, index = probabilities.sort(dim=1, descending=True, stable=True)
    mass = ordered.double().cumsum(1)
    # A token stays while the mass before it is short of p; so the first always stays.
    keep = (mass - ordered) < p * mass[:, -1:]
    return probabilities.where(torch.zeros_like(keep).scatter(1, index, keep), 0.0)


def pick(
    logits: Tensor,
    uniform: Tensor | None,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> tuple[Tensor, Tensor]:
    """Tokens int64 [B] and their log-probabilities float32 [B] at `temperature`, before top-k and
    top-p.

    `logits` [B, V]; `uniform` float64 [B] in (0, 1]. `temperature` 0 takes the most likely token,
    with its log-probability at 1.
    """
    scaled = logits.float()
    if temperature not in (0.0, 1.0):
        scaled = scaled / temperature
    logprobs = scaled.log_softmax(1)
    if temperature == 0.0 or uniform is None:
        token = logprobs.argmax(1)
    else:
        probabilities = logprobs.exp()
        if top_k is not None:
            probabilities = keep_top_k(probabilities, top_k)
        if top_p is not None and top_p < 1.0:
            probabilities = keep_top_p(probabilities, top_p)
        cdf = probabilities.double().cumsum(1)
        # The first token whose cdf reaches u x total, u > 0: its own probability is not zero.
        token = torch.searchsorted(cdf, (uniform * cdf[:, -1])[:, None]).squeeze(1)
        # Only nan goes beyond the end. On a GPU the index would end the process; the caller finds
        # the nan in the log-probability.
        token = token.clamp_max(logits.shape[1] - 1)
    return token, logprobs.gather(1, token[:, None]).squeeze(1)
