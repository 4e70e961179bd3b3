"""Training that reads what sequences begin with alike once: states of one response, and responses
to one prompt, are branches of a tree.

A row of a micro-batch is a tree: the tokens of its sequences, each where it first differs from the
one before. A token sees those on its own path alone, and has the position that it has there, so
that the sums over all sequences' tokens are those of reading each by itself, but for rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..wire.context import no_memory
from .micro_batches import (
    MicroBatch,
    choose_micro_batch,
    enough_tokens,
    not_first,
    plan,
    predicted,
    send,
)
from .model import LoadedModel, largest
from .ragged import micro_batches
from .trees import Row, Tree, in_rows

#: Most tokens of a row that holds more than its longest sequence.
MOST_IN_A_ROW = 4096
#: Attention costs the square of a row. Up to weights / (hidden x layers x this) tokens it costs
#: less than the matrices do.
ATTENTION_SHARE = 3
#: Without less than this part of the tokens, plain rows are faster.
WORTH = 0.9
#: Largest difference of hidden states that is rounding, as a part of their largest number.
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 5e-2}

Planner = Callable[
    [LoadedModel, np.ndarray, np.ndarray, np.ndarray, "int | None"], Iterator[MicroBatch]
]


def row_limit(model: LoadedModel, longest: int, size: int) -> int:
    """Returns the most tokens of a row, for a longest sequence of so many and micro-batches of
    `size` tokens.
    """
    embedding = model.base.get_input_embeddings().weight.numel()
    weights = sum(parameter.numel() for parameter in model.network.parameters()) - embedding
    width = largest(model.config, "hidden_size") or 1024
    layers = largest(model.config, "num_hidden_layers") or 1
    alike = weights // (ATTENTION_SHARE * width * layers)
    most = min(size, alike, MOST_IN_A_ROW)
    # Some architectures have masks of their context's size, or ids of token types.
    context = model.context_length
    if any(context in buffer.shape for buffer in model.network.buffers()):
        most = min(most, context or most)
    return max(longest, most)


def tree_of(model: LoadedModel, rows: list[Row], width: int) -> tuple[np.ndarray, Tree]:
    """Returns the ids int64 [rows, width] and the tree of a micro-batch."""
    ids = np.zeros((len(rows), width), np.int64)
    positions = np.zeros((len(rows), width), np.int64)
    sees = np.zeros((len(rows), 1, width, width), bool)
    for r, row in enumerate(rows):
        ids[r, : row.size] = np.concatenate(row.ids)
        for start, count, before in row.branches:
            new = slice(start, start + count)
            positions[r, new] = len(before) + np.arange(count)
            sees[r, 0, new, before] = True
            sees[r, 0, new, new] = np.tri(count, dtype=bool)
        # Padding sees itself, for a softmax over nothing is no number.
        rest = np.arange(row.size, width)
        sees[r, 0, rest, rest] = True
    mask = send(sees, model.device)
    if attention(model) == "eager":
        added = torch.zeros(mask.shape, dtype=model.dtype, device=model.device)
        mask = added.masked_fill(~mask, torch.finfo(model.dtype).min)
    return ids, Tree(send(positions, model.device), mask)


def attention(model: LoadedModel) -> str | None:
    """Returns the name of the network's attention."""
    return getattr(model.config, "_attn_implementation", None)


def plan_shared(
    model: LoadedModel,
    ids: np.ndarray,
    cu: np.ndarray,
    chosen: np.ndarray,
    limit: int | None,
    most: int | None = None,
) -> Iterator[MicroBatch]:
    """Yields what `plan` does, with rows that are trees where that saves tokens; with `most`
    tokens of a row given, in any case.
    """
    flat, owner, offset, needed = predicted(cu, chosen)
    used = np.flatnonzero(needed)
    longest = int(needed.max(initial=0))
    size = limit or choose_micro_batch(model, longest)
    rows = in_rows(ids, cu, needed, used, most or row_limit(model, longest, size))
    sizes = np.array([row.size for row in rows], np.int64)
    if most is None and sizes.sum() > WORTH * needed.sum():
        yield from plan(model, ids, cu, chosen, limit)
        return
    first = np.searchsorted(owner, np.arange(len(cu)))
    planned = limit is None and model.activations is not None
    for picked in micro_batches(sizes, size, enough_tokens(model) if planned else None):
        own = [rows[i] for i in picked]
        width = int(sizes[picked].max())
        inputs, tree = tree_of(model, own, width)
        positions, tokens = [], []
        for r, row in enumerate(own):
            for s, path in zip(row.sequences, row.paths, strict=True):
                here = np.arange(first[s], first[s + 1])
                positions.append(r * width + path[offset[here] - 1])
                tokens.append(flat[here])
        yield MicroBatch(
            ids=send(inputs, model.device),
            positions=send(np.concatenate(positions), model.device),
            tokens=send(np.concatenate(tokens), model.device),
            sequences=sum(len(row.sequences) for row in own),
            tree=tree,
        )


def can_share(model: LoadedModel) -> bool:
    """Returns whether the network reads trees as it reads their sequences, tried out once; if not,
    the log says why.
    """
    if model.reads_trees is None:
        reason = _try_out(model)
        model.reads_trees = reason is None
        if reason is not None:
            print(
                f"share_prefixes: {model.name!r} reads each sequence by itself: {reason}",
                file=sys.stderr,
                flush=True,
            )
    return model.reads_trees


def _try_out(model: LoadedModel) -> str | None:
    """Returns how a tree differs from its sequences read each by itself; None: it does not."""
    if attention(model) not in ("sdpa", "eager"):
        return f"its attention is {attention(model)}, and trees need sdpa or eager"
    kinds = set(getattr(model.config, "layer_types", None) or []) - {"full_attention"}
    if kinds:
        return f"it has layers of {', '.join(sorted(kinds))}"
    if not hasattr(model.config, "layer_types"):
        window = smallest_window(model)
        if window is not None:
            return "its config has {} {}, less than its context".format(*window)
    drawn = ((np.arange(48) * 7919 + 17) % model.vocabulary).astype(np.int32)
    trunk, rest = drawn[:16], drawn[16:]
    texts = [np.concatenate([trunk[:k], rest[i : i + 7]]) for i, k in enumerate((4, 9, 10, 16))]
    texts = [text[: model.context_length] for text in texts]
    ids, cu = np.concatenate(texts), np.cumsum([0, *map(len, texts)])
    try:
        whole = _read(model, ids, cu, plan)
        shared = _read(model, ids, cu, partial(plan_shared, most=len(ids)))
    except Exception as error:
        if no_memory(error):
            raise
        return " ".join(str(error).split())[:300] or type(error).__name__
    off = float((whole - shared).abs().max() / whole.abs().max().clamp_min(1e-9))
    if not off <= ROUNDING[model.dtype]:
        return f"its hidden states differ by {off:.2g} of their largest number"
    return None


def smallest_window(model: LoadedModel) -> tuple[str, int] | None:
    """Returns the config's smallest window or chunk of attention, with its name, if the context is
    longer than that: a text that is short enough to be tried out would not show it.
    """
    context = model.context_length or sys.maxsize
    found = [
        (name, value)
        for name, value in model.config.to_dict().items()
        if ("window" in name or "chunk" in name) and type(value) is int and 0 < value < context
    ]
    return min(found, key=lambda pair: pair[1], default=None)


@torch.no_grad()
def _read(model: LoadedModel, ids: np.ndarray, cu: np.ndarray, make: Planner) -> Tensor:
    """Returns the hidden states before each token but the first of each sequence."""
    chosen = not_first(cu, len(ids))
    found: dict[int, Tensor] = {}
    for batch in make(model, ids, cu, chosen, None):
        with model.autocast():
            hidden = model.hidden_at(batch.ids, batch.positions, batch.tree)
        found |= dict(zip(batch.tokens.tolist(), hidden.float().cpu(), strict=True))
    return torch.stack([found[token] for token in sorted(found)])
