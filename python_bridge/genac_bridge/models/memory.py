"""Bytes that models take on their device, and what they leave for activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .activations import layers_of, saved_bytes
from .model import LoadedModel, largest
from .optimizer import PART

#: Part of the device's memory that is planned with: the rest is the driver's, and lost in gaps.
USABLE = 0.9
#: Part of it that a worker plans with, for two may share a device.
SHARE = 0.5
#: Logits of one chunk of the head: one for 320 bytes of the device, and no more than these.
MOST_LOGITS, BYTES_A_LOGIT = 2**28, 320
#: What a chunk holds for each logit: itself and its log-prob in float32, its gradient in bfloat16.
LOGIT_BYTES = 10
#: Tokens of the forward pass that counts what is kept.
COUNTED = 64
#: Where a micro-batch of so few tokens does not fit, activations are computed again.
FEW = 2048


@dataclass(frozen=True)
class Activations:
    """Bytes for each token of a micro-batch."""

    kept: int
    """From forward to backward; 0 where nothing is trained."""
    passing: int
    """While one layer is computed."""


def count_activations(network: Any, config: Any, run: Any) -> tuple[Activations, Activations]:
    """Returns what `run(ids)`, a forward pass, takes, with every activation kept and with those of
    layers computed again (checkpointed). Changes nothing.
    """
    device = next(network.parameters()).device
    ids = torch.zeros(1, COUNTED, dtype=torch.int64, device=device)
    kept = saved_bytes(lambda: run(ids), network) // COUNTED
    hidden = largest(config, "hidden_size") or 1024
    inner = largest(config, "intermediate_size") or 4 * hidden
    size = network.dtype.itemsize
    passing = (12 * hidden + 6 * inner) * size
    layers = len(layers_of(network))
    plain = Activations(kept, passing)
    if layers == 0 or kept == 0:
        return plain, plain
    return plain, Activations(layers * hidden * size, passing + -(-kept // layers))


#: Bytes of each model of this process, by device and name: they share the process's memory.
_fixed: dict[tuple[torch.device, str], int] = {}


def register(model: LoadedModel) -> None:
    """Plans with a model from now on, in the place of another of that name."""
    model.activations = count_activations(model.network, model.config, model.hidden_states)
    _fixed[model.device, model.name] = fixed_bytes(model)


def fixed_bytes(model: LoadedModel) -> int:
    """Returns the bytes of weights, gradients, moments and served weights."""
    total = sum(p.numel() * p.element_size() for p in model.network.parameters())
    if model.kind == "causal":
        total += sum(p.numel() for p in model.network.parameters()) * model.dtype.itemsize
    if model.optimizer is None:
        return total
    sizes = [parameter.numel() for parameter in model.optimizer.parameters.values()]
    moments = 8 * sum(sizes)
    if model.loading is not None and model.loading.offload_optimizer:
        moments = 8 * min(sum(sizes), max(PART, *sizes))  # of one part
    masters = 4 * sum(sizes) if model.masters is not None else 0
    return total + masters + 4 * sum(sizes) + moments


def device_bytes(device: torch.device) -> int | None:
    """Returns the whole memory of a GPU; None for others, whose memory is not planned."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)


def most_logits(device: torch.device) -> int:
    """Returns how many logits one chunk of the head may have."""
    total = device_bytes(device)
    return MOST_LOGITS if total is None else min(MOST_LOGITS, total // BYTES_A_LOGIT)


def head_rows(model: LoadedModel) -> int:
    """Returns how many tokens' logits are computed at once."""
    return max(1, most_logits(model.device) // model.vocabulary)


def share(model: LoadedModel) -> float:
    """Returns the part of its device's memory that a model's process plans with."""
    given = None if model.loading is None else model.loading.memory_share
    return SHARE if given is None else given


def room(model: LoadedModel) -> tuple[int, int]:
    """Returns the padded tokens whose activations fit beside all models of this process: all kept,
    and those of layers computed again. Depends on shapes alone, not on the moment.
    """
    total = device_bytes(model.device)
    assert total is not None
    left = int(total * USABLE * share(model))
    left -= sum(size for (device, _), size in _fixed.items() if device == model.device)
    if model.kind == "causal":
        left -= most_logits(model.device) * LOGIT_BYTES
    assert model.activations is not None
    kept, recomputed = model.activations
    return (
        max(1, left // (kept.kept + kept.passing)),
        max(1, left // (recomputed.kept + recomputed.passing)),
    )


def recomputes(model: LoadedModel, longest: int) -> bool:
    """Returns whether layers are computed again in backward: by option, or because no micro-batch
    with the longest sequence would fit otherwise.
    """
    asked = model.loading is not None and model.loading.gradient_checkpointing
    if asked or model.activations is None:
        return asked
    return room(model)[0] < max(FEW, longest)


def tokens_that_fit(model: LoadedModel, longest: int) -> int:
    """Returns the padded tokens of a micro-batch that fits beside the models of this process."""
    return room(model)[recomputes(model, longest)]
