"""Ragged data: flat values and `cu_seqlens` (int32, length = sequences + 1, starts with 0)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..wire.context import BadArguments, Tensors

Array = np.ndarray


def take(tensors: Tensors, name: str, dtype: str, shape: tuple[int | None, ...]) -> Array:
    """Returns the tensor `name`, checked for dtype and shape (None: any size)."""
    array = tensors.get(name)
    if array is None:
        raise BadArguments(f"tensor {name!r} is missing; given: {sorted(tensors) or 'none'}")
    if array.dtype != np.dtype(dtype):
        raise BadArguments(f"tensor {name!r} is {array.dtype}, expected {dtype}")
    if array.ndim != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, array.shape, strict=True)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise BadArguments(f"tensor {name!r} has shape {list(array.shape)}, expected [{wanted}]")
    return array


def refuse_others(tensors: Tensors, allowed: set[str]) -> None:
    """A tensor that nothing reads is a mistake of the caller, not a thing to pass over."""
    extra = sorted(set(tensors) - allowed)
    if extra:
        raise BadArguments(
            f"unexpected tensors {extra}; this request reads {sorted(allowed) or 'none'}"
        )


def take_sequences(
    tensors: Tensors, ids_name: str, cu_name: str, vocabulary: int
) -> tuple[Array, Array]:
    """Returns the token ids [T] and their `cu_seqlens` as int64 [N+1], checked: bounds, order, ids
    inside the vocabulary.
    """
    ids = take(tensors, ids_name, "int32", (None,))
    cu = take(tensors, cu_name, "int32", (None,)).astype(np.int64)
    if len(cu) == 0 or cu[0] != 0 or cu[-1] != len(ids) or np.any(np.diff(cu) < 0):
        raise BadArguments(
            f"{cu_name!r} must start with 0, never fall, and end with the length of {ids_name!r} "
            f"({len(ids)})"
        )
    if len(ids) and (ids.min() < 0 or ids.max() >= vocabulary):
        where = int(np.flatnonzero((ids < 0) | (ids >= vocabulary))[0])
        raise BadArguments(
            f"{ids_name!r}[{where}] = {ids[where]} is outside the model's vocabulary "
            f"(0..{vocabulary - 1})"
        )
    return ids, cu


def join(parts: Sequence[Array], dtype: str) -> Array:
    """Arrays of any lengths, laid end to end."""
    return np.concatenate(parts).astype(dtype, copy=False) if len(parts) else np.zeros(0, dtype)


def cumulative(lengths: Sequence[int] | Array) -> Array:
    """Returns `cu_seqlens` of sequences of these lengths, int32."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int32)


def micro_batches(lengths: Array, limit: int, enough: int | None = None) -> list[Array]:
    """Indices of the sequences, sorted by length and cut so that rows x longest <= `limit` (one
    sequence at the least). With `enough`: cut also where that many are reached and the next
    sequence is shorter than the longest by an eighth, so that little is padding; but what is left
    at the end is not cut off if it is less than that and fits.

    Longest first: if memory is to run out, it does so at the start.
    """
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        rows = max(1, limit // longest)
        if enough is not None:
            alike = int(np.searchsorted(-lengths[order[start:]], -longest * 7 // 8, side="right"))
            rows = min(rows, max(alike, -(-enough // longest)))
            left = order[start + rows :]
            if len(left) and len(left) * int(lengths[left[0]]) < enough:
                rows = len(order) - start if (len(order) - start) * longest <= limit else rows
        batches.append(order[start : start + rows])
        start += rows
    return batches


def pad(ids: Array, starts: Array, lengths: Array, left: bool) -> Array:
    """Returns rows `ids[starts[i] : starts[i] + lengths[i]]` as int64 [rows, longest], padded with
    0.
    """
    width = int(lengths.max())
    columns = np.arange(width)
    first = (width - lengths)[:, None] if left else np.zeros((len(lengths), 1), dtype=np.int64)
    offset = columns[None, :] - first
    inside = (offset >= 0) & (offset < lengths[:, None])
    rows = np.where(
        inside, ids[np.minimum(starts[:, None] + np.maximum(offset, 0), len(ids) - 1)], 0
    )
    return rows.astype(np.int64)
