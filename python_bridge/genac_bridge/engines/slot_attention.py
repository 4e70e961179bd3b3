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
    #: int32 [rows + 1]: where the queries and the keys of each row begin, rows laid end to end.
    query_starts: Tensor
    key_starts: Tensor


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
    """One query a row; of each row's keys the first `step.used` are read."""
    rows, heads, _, width = query.shape
    kv, columns = key.shape[1], key.shape[2]
    groups = heads // kv
    packed = query.reshape(rows, kv, groups, width).transpose(1, 2).reshape(-1, kv, width)
    output = torch.ops.aten._flash_attention_forward(
        packed,
        key.transpose(1, 2).flatten(0, 1),
        value.transpose(1, 2).flatten(0, 1),
        step.query_starts,
        step.key_starts,
        groups,
        columns,
        0.0,
        False,
        False,
        scale=scaling,
        seqused_k=step.used,
    )[0]
    return output.reshape(rows, groups, kv, width).transpose(1, 2).reshape(rows, 1, heads, width)


def no_mask(*_: Any, **__: Any) -> None:
    """The network builds no mask: `attend` knows what each row may see."""


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, no_mask)


def why_not_by_length(device: torch.device, dtype: torch.dtype, width: int) -> str | None:
    """Returns why the kernel that takes lengths can't be used on this device; None: it can.

    Tried out on random numbers: it is an internal function of torch.
    """
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return f"{dtype} on {device.type}"
    rows, kv, groups, columns = 3, 2, 3, 256
    generator = torch.Generator(device=device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).to(dtype)

    class Step:
        by_length = True
        used = torch.tensor([1, 130, 256], dtype=torch.int32, device=device)
        query_starts = torch.arange(rows + 1, dtype=torch.int32, device=device) * groups
        key_starts = torch.arange(rows + 1, dtype=torch.int32, device=device) * columns

    query = normal(rows, kv * groups, 1, width)
    key, value = (normal(rows, columns, kv, width).transpose(1, 2) for _ in range(2))
    seen = torch.arange(columns, device=device)[None] < Step.used[:, None]
    mask = torch.zeros(seen.shape, device=device).masked_fill(~seen, -torch.inf)[:, None, None]
    try:
        have = by_length(query, key, value, None, Step()).float()
        want = by_mask(query.float(), key.float(), value.float(), None, mask)
        off = float((have - want).abs().max())
    except Exception as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None if off < 0.02 else f"it is off by {off:.2g}"
