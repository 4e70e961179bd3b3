"""The serving network: a copy of the weights in the type they are served in, adapters merged."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from ..models.model import LoadedModel
from . import slot_attention


class Unfit(Exception):
    """A network that can't be served by a copy, and why."""


class ServingCopy:
    """A network without adapters, whose weights `publish` replaces in place.

    Frozen weights are shared with the model's network.
    `shared`: all weights are, and adapters stay: for the check at loading. Raises `Unfit`.
    """

    def __init__(self, model: LoadedModel, shared: bool = False) -> None:
        if model.quantized or not model.splits_head:
            raise Unfit("its weights are quantized or its head does more than multiply")
        if not shared and (model.masters is None) != (model.dtype == torch.float32):
            raise Unfit("it casts its weights as they are used")
        self.dtype = torch.float32 if shared else model.dtype
        self.config = model.config
        #: By the network's names: where a published weight goes.
        self._places: dict[str, nn.Parameter] = {}
        self._adapters: dict[str, Adapter] = {} if shared else adapters_of(model.network)
        memo: dict[int, Any] = {}
        for name, parameter in model.network.named_parameters():
            fixed = not parameter.requires_grad and name not in self._adapters
            if shared or fixed or ".lora_" in name:
                memo[id(parameter)] = parameter
                continue
            place = nn.Parameter(torch.empty_like(parameter), requires_grad=False)
            memo[id(parameter)] = self._places[name] = place
        self.network: Any = copy.deepcopy(model.base, memo)
        if not shared:
            without_adapters(self.network)
        head = self.network.get_output_embeddings()
        if not shared and type(head) is not nn.Linear:
            raise Unfit(f"its head is a {type(head).__name__}")
        self.network.set_attn_implementation(slot_attention.NAME)
        if self.network.config.get_text_config()._attn_implementation != slot_attention.NAME:
            raise Unfit("its attention can't be replaced")

    @torch.no_grad()
    def publish(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Takes these weights, adapters added to their matrices in float32."""
        given = dict(weights)
        for name, place in self._places.items():
            weight = given[name]
            if name in self._adapters:
                weight = self._adapters[name].merged(weight, given)
            place.copy_(weight)

    def bytes(self) -> int:
        """Returns the bytes of the weights that are its own."""
        return sum(place.nbytes for place in self._places.values())


class Adapter:
    """LoRA of one matrix: weight + scale * B A."""

    def __init__(self, name: str, scale: float, transposed: bool) -> None:
        self.first, self.second = f"{name}.lora_A.", f"{name}.lora_B."
        self.scale, self.transposed = scale, transposed

    def merged(self, weight: Tensor, given: dict[str, Tensor]) -> Tensor:
        """Returns the sum, float32."""
        (first,) = (given[name] for name in given if name.startswith(self.first))
        (second,) = (given[name] for name in given if name.startswith(self.second))
        change = (second.float() @ first.float()) * self.scale
        return weight.float() + (change.t() if self.transposed else change)


def adapters_of(network: nn.Module) -> dict[str, Adapter]:
    """Returns the adapters by the names of their base weights. Raises `Unfit` for other kinds."""
    found = {}
    uses: dict[int, int] = {}
    for module in network.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    for name, module in network.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        plain = isinstance(module, LoraLayer) and type(module) is LoraLinear
        if not plain or len(module.active_adapters) != 1 or module.merged:
            raise Unfit(f"its adapter has a {type(module).__name__}")
        adapter = module.active_adapters[0]
        names = {key for key, _ in module.named_parameters()}
        usual = re.compile(r"base_layer\.(weight|bias)|lora_[AB]\.[^.]+\.weight")
        base = module.get_base_layer()
        if not all(usual.fullmatch(key) for key in names) or uses[id(base.weight)] > 1:
            raise Unfit("its adapter is more than two matrices for each of its own")
        found[f"{name}.base_layer.weight"] = Adapter(
            name, float(module.scaling[adapter]), bool(module.fan_in_fan_out)
        )
    return found


def without_adapters(network: nn.Module) -> None:
    """Puts the base layers back into the places of their adapters."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, BaseTunerLayer):
                setattr(module, name, child.get_base_layer())
