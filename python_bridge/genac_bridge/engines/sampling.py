"""From logits to a token, given one uniform number a row."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Vocabularies beyond this are summed in parts, of so many tokens: the first that divides them.
LARGE, WIDTHS = 2048, (512, 256, 128, 64, 32)


def keep_top_k(probabilities: Tensor, k: int) -> Tensor:
    """Zeroes all but the k most likely tokens of each row [B, V]; ties with the k-th are kept."""
    if k >= probabilities.shape[1]:
        return probabilities
    smallest = probabilities.topk(k, dim=1).values[:, -1:]
    return probabilities.masked_fill(probabilities < smallest, 0.0)


def keep_top_p(probabilities: Tensor, p: float) -> Tensor:
    """Nucleus sampling (Holtzman 2020): the shortest list of most likely tokens whose mass reaches
    p of the row's mass.
    """
    ordered, index = probabilities.sort(dim=1, descending=True, stable=True)
    mass = ordered.double().cumsum(1)
    # A token stays while the mass before it is short of p; so the first always stays.
    drop = (mass - ordered) >= p * mass[:, -1:]
    return probabilities.masked_fill(torch.zeros_like(drop).scatter(1, index, drop), 0.0)


def inverse_cdf(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Returns the first token int64 [B] at which the sum of `probabilities` [B, V] reaches
    `uniform` float64 [B], in (0, 1], of the row's sum. Its own probability is not zero.

    Only nan goes beyond the end. On a GPU the index would end the process, so it is the last then;
    the caller finds the nan in the log-probability.
    """
    rows, size = probabilities.shape
    width = next((w for w in WIDTHS if size > LARGE and size % w == 0), size)
    if width == size:
        ends = probabilities.double().cumsum(1)
        target = uniform[:, None] * ends[:, -1:]
        return torch.searchsorted(ends, target).squeeze(1).clamp_max(size - 1)
    # Sums are float64, which over everything would move eight times the bytes of the
    # probabilities: so first those of parts, then that within the part that reaches the target.
    parts = probabilities.view(rows, size // width, width)
    ends = parts.sum(-1, dtype=torch.float64).cumsum(1)
    target = uniform[:, None] * ends[:, -1:]
    part = torch.searchsorted(ends, target).clamp_max(size // width - 1)
    before = functional.pad(ends, (1, 0)).gather(1, part)
    within = parts.gather(1, part[..., None].expand(-1, 1, width)).squeeze(1).double().cumsum(1)
    # Added up in another order, the part may be less by a last bit.
    rest = torch.minimum(target - before, within[:, -1:])
    return (part * width + torch.searchsorted(within, rest).clamp_max(width - 1)).squeeze(1)


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
        token = inverse_cdf(probabilities, uniform)
    return token, logprobs.gather(1, token[:, None]).squeeze(1)
