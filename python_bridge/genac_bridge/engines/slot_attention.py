"""Attention of the serving network: prompts without a mask, then one token a row over the slots.

Keys and values of grouped heads are never copied: the query heads of a group are the rows of one
small matrix.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

#: What the serving network's config names as its attention.
NAME = "genac_slots"
#: Arguments with which architectures ask for what this attention does not do.
OTHERS = ("softcap", "s_aux", "position_bias", "sliding_window", "output_attentions")


class Lengths(Protocol):
    """How far the rows of a decoding step reach."""

    #: Whether the kernel takes lengths; else it takes the mask.
    by_length: bool
    #: int32 [rows]: keys of each row.
    used: Tensor


class _Current:
    """The step that the network is in; None: it reads prompts."""

    step: Lengths | None = None


current = _Current()


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Returns the output [rows, queries, heads, width] of queries [rows, heads, queries, width]
    over keys and values [rows, kv heads, keys, width].

    Raises `TypeError` for an architecture that needs another attention.
    """
    others = [name for name in OTHERS if kwargs.get(name)]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if others or not causal or query.shape[1] % key.shape[1]:
        raise TypeError(f"its attention has {', '.join(others) or 'another shape'}")
    if current.step is None:
        return read(query, key, value, scaling), None
    if current.step.by_length:
        return by_length(query, key, value, scaling, current.step), None
    return by_mask(query, key, value, scaling, attention_mask), None


def read(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Causal attention of whole prompts, padded on the right."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and query.is_cuda and query.dtype == torch.float32:
        # The only kernel for this without [queries, keys] in memory has no groups.
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        groups = 1
    output = scaled_dot_product_attention(
        query, key, value, is_causal=query.shape[2] > 1, scale=scaling, enable_gqa=groups > 1
    )
    return output.transpose(1, 2)


def by_mask(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, mask: Tensor | None
) -> Tensor:
    """One query a row; `mask` [rows, 1, 1, keys] is added to the products."""
    rows, heads, _, width = query.shape
    grouped = query.reshape(rows, key.shape[1], -1, width)
    output = scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scaling)
    return output.reshape(rows, 1, heads, value.shape[-1])


def by_length(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Lengths
) -> Tensor:
    """One query a row; of each row's keys the first `step.used` are read.

    Raises `TypeError` for keys and values that do not lie as the slots' do, as those that are
    made of a latent: the kernel would read beyond them.
    """
    if not lie_in_slots(key, value):
        raise TypeError("its keys and values do not lie as they are kept")
    from . import kernels  # Triton is only where CUDA is

    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    keys, values = key.transpose(1, 2), value.transpose(1, 2)
    return kernels.attend(query.flatten(1, 2), keys, values, step.used, scale)[:, None]


def lie_in_slots(key: Tensor, value: Tensor) -> bool:
    """Returns whether keys and values [rows, kv heads, keys, width] lie as the slots' do: a token's
    heads together, and both alike.
    """
    steps = (key.stride(0), key.shape[-1], key.shape[1] * key.shape[-1], 1)
    return key.shape == value.shape and key.stride() == value.stride() == steps


def no_mask(*_: Any, **__: Any) -> None:
    """The network builds no mask: `attend` knows what each row may see."""


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, no_mask)


def why_not_by_length(device: torch.device, dtype: torch.dtype, width: int) -> str | None:
    """Returns why the kernel that takes lengths can't be used on this device; None: it can."""
    if device.type != "cuda":
        return f"{device.type} has no Triton"
    try:
        from . import kernels
    except ImportError as error:
        return str(error)
    return kernels.why_not(device, dtype, width)
