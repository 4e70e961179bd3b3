"""The product of hidden states with a language model's head, the same in sampling and training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def head_product(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns logits float32 [M, V] of hidden states [M, W] and a head [V, W].

    Products of bfloat16 numbers are added up, and returned, in float32: logits that are rounded to
    8 bits move log-probabilities by hundredths. Has no gradient on CUDA in bfloat16.
    """
    if hidden.dtype == torch.float32 == weight.dtype:
        return functional.linear(hidden, weight, bias)
    if hidden.is_cuda:
        logits = torch.mm(hidden, weight.t(), out_dtype=torch.float32)
    else:
        logits = hidden.float() @ weight.t().float()
    return logits if bias is None else logits + bias.float()
