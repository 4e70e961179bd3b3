"""The head of a causal model: from hidden states to logits, in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def product(hidden: Tensor, weight: Tensor) -> Tensor:
    """Returns the logits [M, V] of hidden states [M, d] under a head's weight [V, d].

    Of bfloat16 they are float32, added up in float32 and never rounded. All else keeps its type.
    """
    if weight.dtype != torch.bfloat16:
        return hidden @ weight.t()
    if weight.is_cuda:
        return torch.mm(hidden.to(weight.dtype), weight.t(), out_dtype=torch.float32)
    return hidden.float() @ weight.float().t()


def is_plain(head: nn.Module) -> bool:
    """Returns whether a head is one bfloat16 matrix, whose logits need not be rounded to its
    type.
    """
    return type(head) is nn.Linear and head.weight.dtype == torch.bfloat16


def logits_of(head: nn.Module, hidden: Tensor) -> Tensor:
    """Returns the logits [M, V] of hidden states [M, d]."""
    if not is_plain(head):
        return head(hidden)
    assert isinstance(head, nn.Linear)
    logits = product(hidden, head.weight)
    return logits if head.bias is None else logits + head.bias
