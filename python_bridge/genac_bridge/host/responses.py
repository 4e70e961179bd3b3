"""The actor's responses to the training set, outside of its own training."""

from __future__ import annotations

import itertools

import numpy as np
from tqdm.auto import tqdm

from .batch import Batch, Row
from .processes import hidden
from .trainer import HostTrainer


def responses(host: HostTrainer, count: int) -> Batch:
    """So many responses that have a reward, of all processes together. Raises `ValueError`."""
    rows: list[Row] = []
    rewards: list[float] = []
    with tqdm(total=count, desc="actor responds", disable=hidden(host)) as bar:
        # One of each at the least, if there are any.
        for batch in itertools.islice(host.sample_batches(), count):
            known = ~np.isnan(batch.rewards)
            bar.update(min(int(known.sum()), count - bar.n))
            rows += batch.rows
            rewards += batch.rewards.tolist()
            if np.count_nonzero(~np.isnan(rewards)) >= count:
                break
    # Rows without a reward stay in their place: a row's group is known by its number.
    last = int(np.flatnonzero(~np.isnan(rewards))[:count].max(initial=-1)) + 1
    if last == 0:
        raise ValueError(
            "no response of the actor has a reward: there is nothing to ask the oracle about"
        )
    return Batch(rows[:last], np.array(rewards[:last]), host.group_size)
