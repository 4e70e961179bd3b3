"""What a forward pass keeps for its backward pass, counted; and how to keep less."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


@dataclass(frozen=True)
class Activations:
    """Bytes for each token of a micro-batch."""

    kept: int
    """From forward to backward; 0 where nothing is trained."""
    passing: int
    """While one layer is computed."""
    by_length: int = 0
    """And for each token of its sequence beyond the few that `kept` was counted with: eager
    attention keeps its weights. Part of `kept`, or with recomputing of `passing`."""

    def of(self, beyond: int) -> int:
        """Returns all of it, for a token of a sequence that is longer by `beyond` tokens."""
        return self.kept + self.passing + self.by_length * max(0, beyond)


def saved_bytes(run: Callable[[], Any], network: nn.Module) -> int:
    """Returns the bytes that autograd keeps while the result of `run()` lives, without those of
    the network's own parameters and buffers. Works on the meta device as on any other.
    """
    own = {storage_of(tensor) for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        where = storage_of(tensor)
        if where not in own:
            kept[where] = tensor  # held, so that no other storage takes its place
        return tensor

    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def storage_of(tensor: Tensor) -> int:
    """Returns a number that tensors of the same storage share."""
    return tensor.untyped_storage()._cdata


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Returns the layers that Transformers itself would checkpoint."""
    return [m for m in network.modules() if isinstance(m, GradientCheckpointingLayer)]


@contextlib.contextmanager
def checkpointed(network: nn.Module, drops: bool) -> Iterator[None]:
    """Within, each layer keeps its input only, and computes the rest again in backward.

    `drops`: dropout is on, and must drop the same again. Transformers' own switch works in
    training mode only, which would turn on every other dropout, too.
    """
    layers = layers_of(network)
    # Layers of quantized networks have a forward of their own, which a library put there.
    own = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        layer.forward = _again(layer.forward, drops)
    try:
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward


def _again(forward: Callable[..., Any], drops: bool) -> Callable[..., Any]:
    def run(*arguments: Any, **keywords: Any) -> Any:
        return checkpoint(
            forward, *arguments, use_reentrant=False, preserve_rng_state=drops, **keywords
        )

    return run
