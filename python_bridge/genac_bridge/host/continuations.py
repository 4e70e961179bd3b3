"""Continuations of responses: what the controller wants, and what the host answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..wire.context import OperationError
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


def answer_of(
    done: Continuations, wanted: Wanted, host: str, max_new_tokens: int | None = None
) -> tuple[dict[str, Any], Tensors]:
    """Returns the result and tensors of `continue_responses`.

    `host`: the name of the class that gave `done`. `max_new_tokens`: the most that a response can
    have, prefix included; None: not known. Raises `OperationError` that names the method for what
    is no answer to `wanted`.
    """

    def fault(words: str) -> OperationError:
        return OperationError("function_error", f"{host}.continue_responses gave {words}")

    if not isinstance(done, Continuations):
        raise fault(f"{type(done).__name__} instead of Continuations")
    total = len(wanted.rows) * wanted.count
    parts: dict[str, Any] = {"texts": done.texts, "ids": done.ids, "rewards": done.rewards}
    for name, given in parts.items():
        if not hasattr(given, "__len__"):
            raise fault(f"{name} in a {type(given).__name__}, not a list or an array")
        if len(given) != total:
            raise fault(
                f"{len(given)} {name}, not {total}: {wanted.count} for each of "
                f"{len(wanted.rows)} states"
            )
    wrong = [text for text in done.texts if not isinstance(text, str)]
    if wrong:
        raise fault(f"the text {wrong[0]!r}, which is no str")
    ids = []
    for i, own in enumerate(done.ids):
        begun = len(wanted.prefixes[i // wanted.count])
        room = None if max_new_tokens is None else max(0, max_new_tokens - begun)
        ids.append(_new_tokens(f"ids[{i}]", own, room, fault))
    lengths = [len(own) for own in ids]
    return {"texts": list(done.texts)}, {
        "rewards": _rewards(done.rewards, total, fault),
        "completion_ids": np.concatenate([*ids, np.zeros(0, np.int32)]).astype(np.int32),
        "completion_cu_seqlens": np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(
            np.int32
        ),
    }


def _new_tokens(
    name: str, given: Any, room: int | None, fault: Callable[[str], OperationError]
) -> np.ndarray:
    """Returns int32 [T], at most `room`. Raises `fault(words)`."""
    ids = np.asarray(given)
    if ids.ndim != 1 or (ids.dtype.kind not in "iu" and ids.size > 0):
        raise fault(f"{name} of {ids.dtype} and shape {list(ids.shape)}, not integers of shape [T]")
    if ids.size > 0 and (ids.min() < 0 or ids.max() >= 2**31):
        outside = ids.min() if ids.min() < 0 else ids.max()
        raise fault(f"{name} with the token {outside}, which is no int32 from 0")
    if room is not None and len(ids) > room:
        raise fault(
            f"{name} with {len(ids)} new tokens, where {room} are left of the response's most"
        )
    return ids.astype(np.int32)


def _rewards(given: Any, total: int, fault: Callable[[str], OperationError]) -> np.ndarray:
    """Returns float64 [total] in [0, 1] or NaN. Raises `fault(words)`."""
    try:
        rewards = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise fault(f"rewards that are no numbers: {error}") from error
    if rewards.shape != (total,):
        raise fault(f"rewards of shape {list(rewards.shape)}, not [{total}]")
    outside = rewards[~np.isnan(rewards) & ~((rewards >= 0) & (rewards <= 1))]
    if len(outside) > 0:
        raise fault(f"the reward {outside[0]}, which is not in [0, 1] and not NaN")
    return rewards
