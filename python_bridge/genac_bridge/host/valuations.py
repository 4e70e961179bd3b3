"""The critic's valuations of a batch, and a warning about a critic that wrote none."""

from __future__ import annotations

from typing import Any

import numpy as np

from .advice import Advice
from .batch import Row


def valuations_of(
    rows: list[Row], sent: np.ndarray, rewards: np.ndarray, valued: list[Any]
) -> list[dict[str, Any]]:
    """Returns one entry for each row: prompt, response, reward in [0, 1] (None: no reward function
    applied), and its segments as the controller sent them. `valued`: those of the rows `sent`.
    """
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


def silence(metrics: dict[str, float], group_size: int, advice: Advice) -> str | None:
    """Returns a warning about a critic that was asked and wrote no valid score; else None.

    One that was never taught looks like one that works.
    """
    states = metrics.get("critic/states", 0)
    skipped = ("critic/states_not_asked", "critic/overlong_states", "critic/refused_states")
    asked = states - sum(metrics.get(name, 0) for name in skipped)
    if asked <= 0 or metrics.get("critic/malformed_states") != states:
        return None
    alone = (
        f"With {advice.group_size}=1 those are all 0: the actor learns nothing until the critic "
        "gives scores. "
        if group_size == 1
        else ""
    )
    return (
        f"GenAC: the critic wrote no valid score for any of {asked:.0f} states, so this batch's "
        "advantages are GRPO's own (gate/fallback, critic/parse_rate), and it is asked about a "
        f"few states every few batches only (critic/states_not_asked). {alone}{advice.silence}"
    )
