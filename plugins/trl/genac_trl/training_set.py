"""The training set's batches, outside of the actor's own training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def batches(trainer: Any, skipped: int = 0) -> Iterator[list[dict[str, Any]]]:
    """Yields the training set's batches for generation, again and again, after the first `skipped`
    ones.

    TRL's sampler gives each of them once for every step that training takes on it; here each comes
    once. They draw nothing from PyTorch's global generator.
    """
    repeats = trainer.args.steps_per_generation * trainer.num_iterations
    trainer.model.train()
    while True:
        loader = iter(trainer.get_train_dataloader())
        seen = given = 0
        while (batch := following(loader)) is not None:
            given += 1
            if (given - 1) % repeats != 0:
                continue
            seen += 1
            if seen > skipped:
                yield batch
        if seen == 0:
            raise ValueError("the training set has fewer prompts than one generation batch needs")
        skipped = max(0, skipped - seen)


def following(loader: Iterator[Any]) -> Any:
    """Returns the next batch, or None; a loader draws a seed when it begins."""
    with torch.random.fork_rng(devices=[]):
        return next(loader, None)
