"""Which sequences share a forward pass, and which of their tokens are predicted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .memory import tokens_that_fit
from .model import LoadedModel, largest
from .ragged import micro_batches, pad
from .trees import Tree

#: Numbers of activations that a micro-batch may hold on a CPU, so that they stay in its caches.
CPU_ACTIVATIONS = 2**22
#: Bounds of the padded tokens that are enough for a GPU.
FEWEST_ENOUGH, MOST_ENOUGH = 8192, 16384
#: Tokens x weights for each layer of which computing takes longer than launching. On an H200 a
#: layer's kernels, forward and backward, take some 3 ms to launch, and a token of a small model 6
#: operations a weight at 110 TFLOP/s; with a quarter more.
LAUNCHES = 7e10
#: Rows of a micro-batch of a fixed shape, and what its width is a multiple of. With odd numbers of
#: rows a CPU's matrix products add up the rows at the end in another order than the others.
FIXED_ROWS, FIXED_WIDTH = 8, 16
#: Most tokens of so many rows. A longer sequence is read by itself: few have its width, and rows
#: that are there for the shape alone would cost as much as it does.
FIXED_TOKENS = 4096


@dataclass
class MicroBatch:
    #: Right-padded inputs [rows, width].
    ids: Tensor
    #: Where in the flattened inputs the predictions of the chosen tokens are read, int64 [M].
    positions: Tensor
    #: Which of all tokens they predict, int64 [M].
    tokens: Tensor
    #: Sequences that have a chosen token.
    sequences: int
    #: Rows that are trees (`trees.py`); None: each is a sequence.
    tree: Tree | None = None


def send(array: np.ndarray, device: torch.device) -> Tensor:
    """Returns an array on the device. The host does not wait for the device to take it."""
    # PyTorch warns of arrays that can't be written, as those of a message.
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def enough_tokens(model: LoadedModel) -> int:
    """Returns the padded tokens of a micro-batch with which a GPU need not wait for launches."""
    weights = sum(parameter.numel() for parameter in model.network.parameters())
    layers = largest(model.config, "num_hidden_layers") or 1
    return int(min(MOST_ENOUGH, max(FEWEST_ENOUGH, LAUNCHES * layers / weights)))


def choose_micro_batch(model: LoadedModel, longest: int) -> int:
    """Returns the padded tokens of one forward pass, for a longest sequence of so many: what fits
    caches and memory.
    """
    fits = tokens_that_fit(model, longest)
    if fits is not None:
        return min(2 * enough_tokens(model), fits)  # more gain nothing
    config = model.config
    vocabulary = model.vocabulary if model.kind == "causal" else 0
    numbers = vocabulary + 12 * (largest(config, "hidden_size") or 1024) * (
        largest(config, "num_hidden_layers") or 1
    )
    return max(512, min(16384, CPU_ACTIVATIONS // numbers))


def predicted(
    cu: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the chosen tokens, the sequence of each and its place there, int64 [M]; and int64 [N]
    how many tokens of each sequence are read to predict its last chosen one.
    """
    flat = np.flatnonzero(chosen)
    owner = np.searchsorted(cu, flat, side="right") - 1
    offset = flat - cu[owner]
    needed = np.zeros(len(cu) - 1, np.int64)
    np.maximum.at(needed, owner, offset)
    return flat, owner, offset, needed


def plan(
    model: LoadedModel, ids: np.ndarray, cu: np.ndarray, chosen: np.ndarray, limit: int | None
) -> Iterator[MicroBatch]:
    """Yields micro-batches that together predict every chosen token once (`chosen` bool [T], never
    a sequence's first token).

    A sequence is cut after its last chosen token, which itself is predicted and not read; one
    without a chosen token is left out.
    """
    flat, owner, offset, needed = predicted(cu, chosen)
    used = np.flatnonzero(needed)
    first = np.searchsorted(owner, np.arange(len(cu)))
    planned = limit is None and model.activations is not None
    enough = enough_tokens(model) if planned else None
    size = limit or choose_micro_batch(model, int(needed.max(initial=0)))
    for picked in micro_batches(needed[used], size, enough):
        rows = used[picked]
        lengths = needed[rows]
        width = int(lengths.max())
        counts = first[rows + 1] - first[rows]
        chosen_here = np.concatenate([np.arange(first[r], first[r + 1]) for r in rows])
        positions = np.repeat(np.arange(len(rows)) * width, counts) + offset[chosen_here] - 1
        yield MicroBatch(
            ids=send(pad(ids, cu[rows], lengths, left=False), model.device),
            positions=send(positions, model.device),
            tokens=send(flat[chosen_here], model.device),
            sequences=len(rows),
        )


def plan_fixed(model: LoadedModel, ids: np.ndarray, cu: np.ndarray) -> Iterator[MicroBatch]:
    """Yields micro-batches that together predict the last token of every sequence, each of two
    tokens or more.

    The shape of a sequence's micro-batch depends on its own length alone, so that on a CPU its
    prediction is the same to the last digit whatever other sequences there are.
    """
    lengths = np.diff(cu) - 1
    widths = -(-lengths // FIXED_WIDTH) * FIXED_WIDTH
    if model.context_length is not None:
        widths = np.minimum(widths, model.context_length)
    for width in np.unique(widths):
        members = np.flatnonzero(widths == width)
        count = FIXED_ROWS if FIXED_ROWS * width <= FIXED_TOKENS else 1
        for start in range(0, len(members), count):
            rows = members[start : start + count]
            filled = np.resize(rows, count)
            inputs = np.zeros((count, width), np.int64)
            own = pad(ids, cu[filled], lengths[filled], left=False)
            inputs[:, : own.shape[1]] = own
            positions = np.arange(count) * width + lengths[filled] - 1
            yield MicroBatch(
                ids=send(inputs, model.device),
                positions=send(positions, model.device),
                tokens=send(cu[filled + 1].astype(np.int64) - 1, model.device),
                sequences=len(rows),
            )


def not_first(cu: np.ndarray, total: int) -> np.ndarray:
    """Returns bool [T]: every token but the first of each sequence."""
    chosen = np.ones(total, bool)
    chosen[cu[:-1][np.diff(cu) > 0]] = False
    return chosen
