"""Continuations of responses: what the controller wants, and what the host answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .reverse_requests import Tensors


@dataclass
class Wanted:
    """S states whose responses the host is to continue. Small: it travels between processes."""

    rows: list[int]
    """Of each state: the index of a row of the batch, whose prompt it has."""
    prefixes: list[np.ndarray]
    """int32 [T] of each state: ids of the response so far; may be empty."""
    count: int
    """Completions of each state, at least 1."""
    seed: int


@dataclass
class Continuations:
    """Completions of S states, `count` of each; completion i is of state i // count."""

    texts: list[str]
    """Whole responses, prefix included."""
    ids: list[np.ndarray]
    """int32 [T]: the new tokens."""
    rewards: np.ndarray
    """float64 [S * count] in [0, 1]; NaN: no reward function applied."""


def wanted_of(arguments: dict[str, Any], tensors: Tensors, sent: np.ndarray) -> Wanted:
    """Returns what `continue_responses` wants. `sent` int [M]: the rows of the batch that the
    controller has.

    Raises `ValueError` for what the controller can't mean.
    """
    count, seed = arguments.get("count"), arguments.get("seed")
    if not isinstance(count, int) or count < 1 or not isinstance(seed, int) or seed < 0:
        raise ValueError(
            f"count is {count!r} and seed {seed!r}; they must be integers from 1 and 0"
        )
    missing = {"rows", "prefix_ids", "prefix_cu_seqlens"} - set(tensors)
    if missing:
        raise ValueError(f"the tensors {', '.join(sorted(missing))} are missing")
    rows, ids, cu = tensors["rows"], tensors["prefix_ids"], tensors["prefix_cu_seqlens"]
    if len(rows) > 0 and not (rows.min() >= 0 and rows.max() < len(sent)):
        raise ValueError(f"rows must be from 0 to {len(sent) - 1}, the last row that was sent")
    if len(cu) != len(rows) + 1 or cu[0] != 0 or cu[-1] != len(ids) or (np.diff(cu) < 0).any():
        raise ValueError("prefix_cu_seqlens does not cut prefix_ids into one prefix for each row")
    prefixes = [ids[cu[i] : cu[i + 1]].astype(np.int32) for i in range(len(rows))]
    return Wanted([int(sent[row]) for row in rows], prefixes, count, seed)


def answer_of(done: Continuations) -> tuple[dict[str, Any], Tensors]:
    """Returns the result and tensors of `continue_responses`."""
    lengths = [len(ids) for ids in done.ids]
    return {"texts": done.texts}, {
        "rewards": np.asarray(done.rewards, np.float64),
        "completion_ids": np.concatenate([*done.ids, np.zeros(0, np.int32)]).astype(np.int32),
        "completion_cu_seqlens": np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(
            np.int32
        ),
    }
