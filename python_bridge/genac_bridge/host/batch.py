"""A batch of responses between host and controller: rows, tensors, advantages of each row."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .reverse_requests import Tensors


@dataclass
class Row:
    """One response, as the controller needs it. Small: it travels between processes."""

    prompt: str | list[dict[str, str]]
    """A text, or messages of `role` and `content`."""
    ids: np.ndarray
    """int32 [T]: the tokens that the actor sampled."""
    text: str
    ends: np.ndarray
    """int32 [T]: UTF-16 units of the text that are complete after each token."""
    mask: np.ndarray | None
    """uint8 [T]: 0 where the actor did not write the token; None: it wrote all."""
    logprobs: np.ndarray | None
    """float32 [T], where the host has them."""
    finished: bool
    """Did the response end by itself?"""
    prompt_ids: np.ndarray | None = None
    """int32 [T]: the prompt's exact tokens, where the host has them."""


@dataclass
class Batch:
    """Responses of all processes. Row i belongs to group i // group_size."""

    rows: list[Row]
    rewards: np.ndarray
    """float64 [N] in [0, 1]; NaN: the response has no reward."""
    group_size: int
    width: float = 1.0
    """Of the range of the host's own rewards that [0, 1] stands for: advantages that nothing
    divides are given in the rewards' own units."""


@dataclass
class Credit:
    """What a batch got from the critic."""

    advantages: list[np.ndarray] | None
    """For each row float32 [T]; None: the critic failed, and the host takes its own."""
    metrics: dict[str, float]
    valuations: list[dict[str, Any]] = field(default_factory=list)
    """Main process only, where they were asked for: see `valuations_of`."""

    @property
    def is_group_mean(self) -> bool:
        """Are these the group mean's advantages, as no value of the critic could be used?"""
        return self.metrics.get("gate/fallback") == 1


def plain_prompt(prompt: Any) -> str | list[dict[str, str]]:
    """Returns a prompt in the critic's eyes: text, or messages of role and text.

    Raises `ValueError` for images.
    """
    if isinstance(prompt, str):
        return prompt
    return [{"role": str(message["role"]), "content": _content(message)} for message in prompt]


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        kinds = {part.get("type") for part in content}
        if kinds - {"text"}:
            raise ValueError(
                "GenAC's critic reads text, and a prompt has content of type "
                f"{', '.join(sorted(kinds - {'text'}))}"
            )
        content = "".join(part["text"] for part in content)
    calls = message.get("tool_calls")
    return (content or "") + ("" if not calls else json.dumps(calls, ensure_ascii=False))


def to_wire(
    rows: list[Row], rewards: np.ndarray, group_size: int
) -> tuple[dict[str, Any], Tensors, np.ndarray]:
    """Returns the arguments and tensors of `assign_credit`, and which rows went along: those whose
    reward is a number.

    `rewards`: float64 [N] in [0, 1], NaN where no reward function applied. Row i belongs to group i
    // group_size.
    """
    sent = np.flatnonzero(~np.isnan(rewards))
    chosen = [rows[i] for i in sent]
    # One problem for each group; for each prompt of it where environments did not begin alike, as a
    # state's value is that of its own prompt.
    known: dict[tuple[int, str], int] = {}
    firsts: list[Row] = []
    keys = [(int(i) // group_size, json.dumps(rows[i].prompt)) for i in sent]
    for key, row in zip(keys, chosen, strict=True):
        if key not in known:
            known[key] = len(known)
            firsts.append(row)
    problems = np.array([known[key] for key in keys], np.int32)

    def flat(parts: list[np.ndarray], dtype: Any) -> np.ndarray:
        return np.concatenate([*parts, np.zeros(0, dtype)]).astype(dtype, copy=False)

    def cumulative(parts: list[np.ndarray]) -> np.ndarray:
        lengths = [len(part) for part in parts]
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int32)

    tensors: Tensors = {
        "completion_ids": flat([row.ids for row in chosen], np.int32),
        "cu_seqlens": cumulative([row.ids for row in chosen]),
        "text_ends": flat([row.ends for row in chosen], np.int32),
        "problems": problems,
        "rewards": rewards[sent],
    }
    if any(row.mask is not None for row in chosen):
        masks = [
            np.ones(len(row.ids), np.uint8) if row.mask is None else row.mask for row in chosen
        ]
        tensors["actor_mask"] = flat(masks, np.uint8)
    if chosen and all(row.logprobs is not None for row in chosen):
        tensors["logprobs"] = flat(
            [row.logprobs for row in chosen if row.logprobs is not None], np.float32
        )
    prompt_ids = [row.prompt_ids for row in firsts if row.prompt_ids is not None]
    if firsts and len(prompt_ids) == len(firsts):
        tensors["prompt_ids"] = flat(prompt_ids, np.int32)
        tensors["prompt_cu_seqlens"] = cumulative(prompt_ids)
    arguments = {
        "prompts": [json.loads(prompt) for _, prompt in known],
        "texts": [row.text for row in chosen],
        "finished": [row.finished for row in chosen],
    }
    return arguments, tensors, sent


def from_wire(advantages: np.ndarray, rows: list[Row], sent: np.ndarray) -> list[np.ndarray]:
    """Returns the advantages of each row, float32 [T]; zeros for those that did not go along."""
    each = [np.zeros(len(row.ids), np.float32) for row in rows]
    at = 0
    for i in sent:
        length = len(rows[i].ids)
        each[i] = np.asarray(advantages[at : at + length], np.float32)
        at += length
    return each
