"""Batches for tests of training."""

from __future__ import annotations

from typing import Any

import numpy as np

from conftest import ragged

PPO = {"kind": "pg", "coefficient": 1.0, "clip_low": 0.1, "clip_high": 0.15}


ALL_STREAMS: list[dict[str, Any]] = [
    PPO,
    {"kind": "ce", "coefficient": 0.3},
    {"kind": "kl", "coefficient": 0.2},
    {"kind": "entropy", "coefficient": 0.05},
]


def batch_of(random: np.random.Generator, lengths: list[int]) -> dict[str, np.ndarray]:
    """Ids, a random mask and random inputs of all causal streams; nan where the mask is 0."""
    batch = ragged(random, lengths)
    total = len(batch["ids"])
    mask = (random.random(total) < 0.6).astype(np.float32)
    mask[batch["cu_seqlens"][:-1][np.diff(batch["cu_seqlens"]) > 0]] = 0
    inputs = {
        "pg.advantages": random.normal(size=total),
        "pg.old_logprobs": -3.85 + 0.3 * random.normal(size=total),
        "ce.weights": random.normal(size=total),
        "kl.reference_logprobs": -3.85 + 0.5 * random.normal(size=total),
    }
    blanked = {
        name: np.where(mask > 0, values, np.nan).astype(np.float32)
        for name, values in inputs.items()
    }
    return {**batch, "mask": mask, **blanked}
