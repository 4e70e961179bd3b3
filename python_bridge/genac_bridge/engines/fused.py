"""Makes fewer and larger kernels of the serving network's modules.

A module is replaced only where the replacement says the same of random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import slot_attention
from .slot_cache import SlotLayer, Writing

#: Largest difference, relative to the largest number, that is rounding: in float32, in bfloat16.
TOLERANCE, ROUGH = 1e-4, 0.02


@torch.no_grad()
def fuse(network: nn.Module, with_kernels: bool) -> None:
    """Replaces what it can. `with_kernels`: Triton's kernels work on the network's device."""
    for module in network.modules():
        if type(module).__name__.endswith("RMSNorm"):
            replace(module, lambda m: norm_of(m, with_kernels), norm_probe)
        elif with_kernels and linear_children(module) == ["k_proj", "o_proj", "q_proj", "v_proj"]:
            replace(module, Attention, attention_probe)
        elif with_kernels and linear_children(module) == ["down_proj", "gate_proj", "up_proj"]:
            replace(module, Gated, gated_probe)


Probe = Callable[[nn.Module], dict[str, Tensor | tuple[Tensor, Tensor]]]


def replace(module: Any, make: Callable[[Any], Any], probe: Probe) -> None:
    """Puts what `make` returns in the place of the module's forward, if both say the same."""
    try:
        given = probe(module)
        want = module(**given)
        made = make(module)
        have = made(**given)
    except Exception:  # another architecture's module of a like name
        return
    want, have = (out[0] if isinstance(out, tuple) else out for out in (want, have))
    if want.shape != have.shape:
        return
    off = (want.float() - have.float()).abs().max() / want.float().abs().max().clamp_min(1e-6)
    if off <= (ROUGH if want.dtype == torch.bfloat16 else TOLERANCE):
        if hasattr(made, "settle"):
            made.settle()
        module.forward = made


def normal(weight: Tensor, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(weight)


def linear_children(module: nn.Module) -> list[str]:
    """Returns the names of a module's children with weights, sorted; none if one is not linear."""
    found = {name: child for name, child in module.named_children() if [*child.parameters()]}
    linear = all(type(child) is nn.Linear for child in found.values())
    return sorted(found) if linear else []


class Merged:
    """Linear layers over the same input as one matrix. They go on with views of it, so that
    weights that are written into them are written into it.
    """

    def __init__(self, layers: list[nn.Linear]) -> None:
        self._layers = layers
        biases = [layer.bias for layer in layers]
        if any((bias is None) != (biases[0] is None) for bias in biases):
            raise ValueError("some have a bias")
        self.weight = torch.cat([layer.weight.data for layer in layers])
        self.bias = None if biases[0] is None else torch.cat([bias.data for bias in biases])

    def __call__(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.weight, self.bias)

    def settle(self) -> None:
        sizes = [layer.out_features for layer in self._layers]
        for name, whole in (("weight", self.weight), ("bias", self.bias)):
            if whole is not None:
                for layer, part in zip(self._layers, whole.split(sizes), strict=True):
                    getattr(layer, name).data = part


class Norm:
    """weight * hidden / rms(hidden)."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        self.weight, self.eps = weight, eps

    def __call__(self, hidden_states: Tensor) -> Tensor:
        return functional.rms_norm(hidden_states, self.weight.shape, self.weight, self.eps)


class KernelNorm(Norm):
    """The same, rounded before the weight as Transformers does."""

    def __call__(self, hidden_states: Tensor) -> Tensor:
        from . import kernels

        return kernels.rms_norm(hidden_states, self.weight, self.eps)


def norm_of(module: Any, with_kernels: bool) -> Norm:
    eps = getattr(module, "variance_epsilon", None) or module.eps
    return (KernelNorm if with_kernels else Norm)(module.weight, float(eps))


def norm_probe(module: Any) -> dict[str, Any]:
    return {"hidden_states": normal(module.weight, 2, 3, len(module.weight))}


class Gated:
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, module: Any) -> None:
        self.both, self.down = Merged([module.gate_proj, module.up_proj]), module.down_proj
        self.settle = self.both.settle

    def __call__(self, x: Tensor) -> Tensor:
        from . import kernels

        return self.down(kernels.gate(self.both(x)))


def gated_probe(module: Any) -> dict[str, Any]:
    return {"x": normal(module.gate_proj.weight, 2, 3, module.gate_proj.in_features)}


class Attention:
    """Attention with rotated queries and keys: one product, one kernel that rotates and writes
    into the slots, and one that attends.
    """

    def __init__(self, module: Any) -> None:
        config = getattr(module, "config", None)
        if getattr(config, "clip_qkv", None) is not None:
            # Random numbers need not reach the bound.
            raise ValueError("it clips")
        rope = getattr(config, "rope_parameters", None) or {}
        if rope.get("partial_rotary_factor", 1.0) != 1.0:
            # The probe's angles are of a whole head.
            raise ValueError("it rotates a part of each head")
        self.states = Merged([module.q_proj, module.k_proj, module.v_proj])
        self.settle = self.states.settle
        self.output = module.o_proj
        self.layer, self.scale = module.layer_idx, float(module.scaling)
        self.width = module.head_dim
        self.heads = module.q_proj.out_features // self.width
        self.kv = module.k_proj.out_features // self.width

    def __call__(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        from . import kernels

        rows, tokens = hidden_states.shape[:2]
        states = self.states(hidden_states).flatten(0, 1)
        cosines, sines = (part.flatten(0, 1) for part in position_embeddings)
        step = slot_attention.current.step
        if step is not None:
            layer: SlotLayer = past_key_values.layers[self.layer]
            assert layer.room is not None
            assert isinstance(layer.now, Writing)
            keys, values = layer.room
            queries, _ = kernels.rotate(
                states, cosines, sines, self.heads, self.kv, layer.room, layer.now.places
            )
            out = kernels.attend(queries, keys, values, step.used, self.scale)
        else:
            turned = kernels.rotate(states, cosines, sines, self.heads, self.kv)
            parts = [*turned, states[:, -self.kv * self.width :]]
            query, key, value = (
                part.reshape(rows, tokens, -1, self.width).transpose(1, 2) for part in parts
            )
            if past_key_values is not None:
                key, value = past_key_values.update(key, value, self.layer)
            out = slot_attention.read(query, key, value, self.scale)
        return self.output(out.reshape(rows, tokens, -1)), None


def attention_probe(module: Any) -> dict[str, Any]:
    weight = module.q_proj.weight
    angles = normal(weight, 1, 5, module.head_dim // 2).float().repeat(1, 1, 2)
    return {
        "hidden_states": normal(weight, 2, 5, module.q_proj.in_features),
        "position_embeddings": (angles.cos().to(weight), angles.sin().to(weight)),
        "attention_mask": None,
    }
