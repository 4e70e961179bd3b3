"""Bytes that models take on their device, and what they leave for activations."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

import torch

from ..wire.context import BadArguments
from .activations import Activations, layers_of, saved_bytes
from .model import LoadedModel, largest
from .optimizer import PART

#: Part of the device's memory that is planned with: the rest is the driver's, and lost in gaps.
USABLE = 0.9
#: The part of it that this worker plans with, if whoever started it said so.
SHARE = "GENAC_MEMORY_SHARE"
#: Logits of one chunk of the head: one for 320 bytes of the device, and no more than these.
MOST_LOGITS, BYTES_A_LOGIT = 2**28, 320
#: What a chunk holds for each logit: itself and its log-prob in float32, its gradient in bfloat16;
#: in float32 autograd keeps more.
LOGIT_BYTES, FLOAT_LOGIT_BYTES = 10, 20
#: What vLLM takes of its worker's part of a GPU, if its options don't say it.
VLLM_PART = 0.45
#: Tokens of the forward pass that counts what is kept.
COUNTED = 16
#: Where a micro-batch of so few tokens does not fit, activations are computed again.
FEW = 2048


@dataclass(frozen=True)
class Weights:
    """Bytes of a model that do not depend on the batch."""

    network: int
    """The weights that it computes with."""
    masters: int
    """Float32 weights under those that are trained."""
    gradients: int
    moments: int
    """Of AdamW, on the device: all of them, or those of one part where the host has the rest."""
    served: int
    """The copy of the weights that is sampled from, or all that vLLM takes."""

    @property
    def total(self) -> int:
        return self.network + self.masters + self.gradients + self.moments + self.served


def weights_of(model: LoadedModel, total: int | None = None) -> Weights:
    """Returns what a model takes once it has been trained and sampled from, on a device of `total`
    bytes; null: one whose memory is not planned.
    """
    parameters = list(model.network.parameters())
    sizes = [] if model.optimizer is None else model.optimizer.sizes
    trained = sum(sizes)
    offloads = model.loading is not None and model.loading.offload_optimizer
    return Weights(
        network=sum(p.numel() * p.element_size() for p in parameters),
        masters=4 * trained if model.masters is not None else 0,
        gradients=4 * trained,
        moments=8 * (min(trained, max(PART, *sizes)) if offloads and sizes else trained),
        served=vllm_bytes(model, total)
        if model.loading is not None and model.loading.engine == "vllm"
        else model.dtype.itemsize * served_numbers(model),
    )


def vllm_bytes(model: LoadedModel, total: int | None) -> int:
    """Returns what a model's vLLM takes of a device of `total` bytes: weights, keys and values."""
    assert model.loading is not None
    options = model.loading.engine_options
    if options.get("url") is not None or options.get("transfer") == "nccl":
        return 0  # whoever started the server knows, or it is on other GPUs
    if "kv_cache_memory_bytes" in options:
        numbers = sum(p.numel() for n, p in model.network.named_parameters() if ".lora_" not in n)
        return int(model.dtype.itemsize * numbers + options["kv_cache_memory_bytes"])
    part = options.get("gpu_memory_utilization", VLLM_PART * share(model))
    return int(part * (total or 0))


def served_numbers(model: LoadedModel) -> int:
    """Returns how many weights the copy that is sampled from holds: those that training moves,
    adapters added to their matrices. It shares the others with the network.
    """
    if model.kind != "causal" or model.optimizer is None:
        return 0
    return sum(
        parameter.numel()
        for name, parameter in model.network.named_parameters()
        if ".base_layer." in name or (parameter.requires_grad and ".lora_" not in name)
    )


def count_activations(model: LoadedModel) -> tuple[Activations, Activations]:
    """Returns what a forward pass takes, with every activation kept and with those of layers
    computed again (checkpointed). Changes nothing.
    """
    network, config = model.network, model.config

    def counted(length: int) -> int:
        ids = torch.zeros(1, length, dtype=torch.int64, device=model.device)
        return saved_bytes(lambda: model.hidden_states(ids), network) // length

    kept, by_length = counted(COUNTED), 0
    # Others keep weights only where there is no kernel for them: not on a GPU.
    if getattr(config, "_attn_implementation", None) == "eager":
        by_length = max(0, counted(2 * COUNTED) - kept) // COUNTED
    hidden = largest(config, "hidden_size") or 1024
    inner = largest(config, "intermediate_size") or 4 * hidden
    size = model.dtype.itemsize
    passing = (12 * hidden + 6 * inner) * size
    if model.kind == "causal" and not model.splits_head:
        # All logits at once: in the network's type, and in float32 with their gradients.
        passing += model.vocabulary * (size + 12)
    layers = len(layers_of(network))
    plain = Activations(kept, passing, by_length)
    if layers == 0 or kept == 0:
        return plain, plain
    again = passing + -(-kept // layers)
    return plain, Activations(layers * hidden * size, again, -(-by_length // layers))


#: Bytes of each model of this process, by device and name: they share the process's memory.
_fixed: dict[tuple[torch.device, str], int] = {}


def register(model: LoadedModel) -> None:
    """Plans with a model from now on, in the place of another of that name on any device."""
    for device, name in list(_fixed):
        if name == model.name:
            del _fixed[device, name]
    if device_bytes(model.device) is not None:
        total = device_bytes(model.device)
        _fixed[model.device, model.name] = weights_of(model, total).total


def device_bytes(device: torch.device) -> int | None:
    """Returns the whole memory of a GPU; None for others, whose memory is not planned."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)


def most_logits(total: int | None) -> int:
    """Returns how many logits one chunk of the head may have on a device of so many bytes."""
    return MOST_LOGITS if total is None else min(MOST_LOGITS, total // BYTES_A_LOGIT)


def head_bytes(model: LoadedModel, total: int | None) -> int:
    """Returns what the logits of one chunk take on a device of so many bytes."""
    if model.kind != "causal":
        return 0
    each = LOGIT_BYTES if model.dtype == torch.bfloat16 else FLOAT_LOGIT_BYTES
    return most_logits(total) * each


def head_rows(model: LoadedModel) -> int:
    """Returns how many tokens' logits are computed at once."""
    return max(1, most_logits(device_bytes(model.device)) // model.vocabulary)


def share(model: LoadedModel) -> float:
    """Returns the part of its device's memory that a model's process plans with. Without an option
    or `GENAC_MEMORY_SHARE` it is half, for two may share a device.
    """
    given = None if model.loading is None else model.loading.memory_share
    return float(os.environ.get(SHARE, "0.5")) if given is None else given


def others(device: torch.device, name: str) -> int:
    """Returns the bytes of the models of this process on a device, but for one of this name."""
    return sum(size for (on, other), size in _fixed.items() if on == device and other != name)


def left(model: LoadedModel, total: int, beside: int) -> int:
    """Returns the bytes of a device of `total` bytes, or of the model's share of it, that its
    weights and `beside` bytes of other models of this process leave.
    """
    return int(total * USABLE * share(model)) - beside - weights_of(model, total).total


def room(model: LoadedModel, total: int, beside: int, longest: int = COUNTED) -> tuple[int, int]:
    """Returns the padded tokens whose activations fit on a device of `total` bytes, beside other
    models of this process that take `beside` bytes: all kept, and those of layers computed again.
    Depends on shapes alone, not on the moment. Below 1: nothing fits. `longest`: tokens of a
    sequence.
    """
    free = left(model, total, beside) - head_bytes(model, total)
    assert model.activations is not None
    kept, recomputed = (one.of(longest - COUNTED) for one in model.activations)
    return free // kept, free // recomputed


def recomputes(model: LoadedModel, longest: int) -> bool:
    """Returns whether layers are computed again in backward: by option, or because no micro-batch
    with the longest sequence would fit otherwise.
    """
    asked = model.loading is not None and model.loading.gradient_checkpointing
    total = device_bytes(model.device)
    if asked or model.activations is None or total is None:
        return asked
    beside = others(model.device, model.name)
    return room(model, total, beside, longest)[0] < max(FEW, longest)


def tokens_that_fit(model: LoadedModel, longest: int) -> int | None:
    """Returns the padded tokens of a micro-batch that fits beside the models of this process; None
    where memory is not planned.
    """
    total = device_bytes(model.device)
    if model.activations is None or total is None:
        return None
    beside = others(model.device, model.name)
    return max(1, room(model, total, beside, longest)[recomputes(model, longest)])


def refuse_too_large(model: LoadedModel, device: torch.device, total: int) -> None:
    """Raises `BadArguments` where a model can't fit on a device of `total` bytes, whatever its
    share, with what it would take and what to change.
    """
    weights = weights_of(model, total)
    beside = others(device, model.name)
    if weights.total + beside <= total * USABLE:
        return
    parts = ", ".join(f"{gib(size)} {name}" for name, size in asdict(weights).items() if size > 0)
    raise BadArguments(
        f"load_model: model {model.name!r} needs {gib(weights.total)} GiB ({parts}), and its "
        f"device has {gib(total)}, of which other models of this worker take "
        f"{gib(beside)}; use lora, offload_optimizer, a smaller model, or a device of its "
        "own"
    )


def gib(size: int) -> str:
    return f"{size / 2**30:.1f}"
