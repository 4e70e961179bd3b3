"""The actor's responses to the training set, outside of its own training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from .batch import Row
from .processes import hidden


def batches(trainer: Any, skipped: int = 0) -> Iterator[list[dict[str, Any]]]:
    """The training set's batches for generation, again and again, after the first `skipped` ones. They draw nothing from PyTorch's global generator."""
    trainer.model.train()
    while True:
        loader = iter(trainer.get_train_dataloader())
        seen = 0
        while (batch := following(loader)) is not None:
            seen += 1
            if seen > skipped:
                yield batch
        if seen == 0:
            raise ValueError("the training set has fewer prompts than one generation batch needs")
        skipped = max(0, skipped - seen)


def following(loader: Iterator[Any]) -> Any:
    """The next batch, or None; a loader draws a seed when it begins."""
    with torch.random.fork_rng(devices=[]):
        return next(loader, None)


def responses(trainer: Any, count: int) -> tuple[list[Row], np.ndarray, int]:
    """So many responses of the actor to the training set that have a reward, all processes' together, with the rewards (float64 [count] in [0, 1]) and the size of groups."""
    rows: list[Row] = []
    rewards: list[float] = []
    with tqdm(total=count, desc="actor responds", disable=hidden(trainer)) as bar:
        for batch in itertools.islice(batches(trainer), count):  # one of each at the least, if there are any
            _, more, own = trainer._sampled(batch)
            known = ~np.isnan(own)
            bar.update(min(int(known.sum()), count - bar.n))
            rows += more
            rewards += own.tolist()
            if np.count_nonzero(~np.isnan(rewards)) >= count:
                break
    # Rows without a reward stay in their place: a row's group is known by its number.
    last = int(np.flatnonzero(~np.isnan(rewards))[:count].max(initial=-1)) + 1
    if last == 0:
        raise ValueError("no response of the actor has a reward: there is nothing to ask the oracle about")
    return rows[:last], np.array(rewards[:last]), trainer.num_generations
