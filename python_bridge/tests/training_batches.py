"""Batches for tests of training, and what the contract says of them in explicit loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def reference_logits(network: torch.nn.Module, ids: np.ndarray) -> Tensor:
    """Logits [tokens, V] of one sequence, alone and unpadded."""
    return network(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).logits[0]


def reference_loss(
    network: torch.nn.Module, batch: dict[str, np.ndarray], temperature: float
) -> tuple[Tensor, dict[str, float]]:
    """The sum of ALL_STREAMS, written out once more from the contract."""
    loss = torch.zeros((), dtype=torch.float64)
    counts = dict.fromkeys(
        ["tokens", "clipped_low", "clipped_high", "kl", "entropy", "ce_loss", "pg_loss"], 0.0
    )
    cu = batch["cu_seqlens"]
    for s in range(len(cu) - 1):
        if cu[s + 1] - cu[s] < 2:
            continue
        logits = reference_logits(network, batch["ids"][cu[s] : cu[s + 1]])
        for i in range(cu[s] + 1, cu[s + 1]):
            if batch["mask"][i] == 0:
                continue
            distribution = torch.softmax(logits[i - cu[s] - 1] / temperature, 0)
            logp = torch.log(distribution[batch["ids"][i]])
            ratio = torch.exp(logp - float(batch["pg.old_logprobs"][i]))
            advantage = float(batch["pg.advantages"][i])
            bounded = min(max(ratio.item(), 0.9), 1.15)
            clips = bounded * advantage < ratio.item() * advantage
            pg = -torch.tensor(bounded * advantage) if clips else -ratio * advantage
            counts["clipped_low"] += float(ratio.item() < 0.9 and advantage < 0)
            counts["clipped_high"] += float(ratio.item() > 1.15 and advantage > 0)
            d = float(batch["kl.reference_logprobs"][i]) - logp
            kl = torch.exp(d) - d - 1
            entropy = -(distribution * torch.log(distribution)).sum()
            ce = -float(batch["ce.weights"][i]) * logp
            loss = loss + pg + 0.3 * ce + 0.2 * kl - 0.05 * entropy
            for name, value in (
                ("tokens", 1.0),
                ("kl", kl.item()),
                ("entropy", entropy.item()),
                ("ce_loss", ce.item()),
                ("pg_loss", pg.item()),
            ):
                counts[name] += value
    return loss, counts
