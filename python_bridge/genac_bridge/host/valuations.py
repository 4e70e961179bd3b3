"""What the critic said of a batch, for whoever reads it: the log's table, `SaveValuationsCallback`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .batch import Row


def valuations_of(rows: list[Row], sent: np.ndarray, rewards: np.ndarray, valued: list[Any]) -> list[dict[str, Any]]:
    """One entry for each row: prompt, response, reward in [0, 1] (None: no reward function applied), and its segments as the controller told them. `valued`: those of the rows `sent`."""
    segments: dict[int, Any] = dict(zip(sent.tolist(), valued, strict=True))
    return [
        {
            "prompt": row.prompt,
            "response": row.text,
            "reward": None if np.isnan(rewards[i]) else float(rewards[i]),
            "segments": segments.get(i, []),
        }
        for i, row in enumerate(rows)
    ]


def log_valuations(trainer: Any, valuations: list[dict[str, Any]]) -> None:
    """Columns of TRL's table of completions: the value at the start and at the last state, and the critic's last words."""
    extra = trainer._logs["extra"]
    for one in valuations:
        first, last = (one["segments"][0], one["segments"][-1]) if one["segments"] else ({}, {})
        extra["value_start"].append(rounded(first.get("value")))
        extra["value_end"].append(rounded(last.get("value")))
        extra["critic"].append(last.get("rationale"))


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def silence(metrics: dict[str, float], num_generations: int) -> str | None:
    """What is said of a critic that was asked and wrote no valid score; else None.

    One that was never taught looks like one that works.
    """
    states = metrics.get("critic/states", 0)
    skipped = ("critic/states_not_asked", "critic/overlong_states", "critic/refused_states")
    asked = states - sum(metrics.get(name, 0) for name in skipped)
    if asked <= 0 or metrics.get("critic/malformed_states") != states:
        return None
    alone = (
        "With num_generations=1 those are all 0: the actor learns nothing until the critic gives scores. "
        if num_generations == 1
        else ""
    )
    return (
        f"GenAC: the critic wrote no valid score for any of {asked:.0f} states, so this batch's advantages are "
        "GRPO's own (critic/fell_back_to_group_mean, critic/parse_rate), and it is asked about a few states every "
        f"few batches only (critic/states_not_asked). {alone}Teach it first, by train_critic(...), name one that was "
        "taught in `critic_model`, or let it write more (`critic_max_new_tokens`)"
    )
