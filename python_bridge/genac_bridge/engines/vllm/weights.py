"""A model's weights as a checkpoint of its base has them: adapters merged, in the served type."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from ...models.model import LoadedModel
from ..serving_copy import Unfit, adapters_of

#: What PEFT puts before and into the names of a base model's weights.
PREFIX, BASE_LAYER = "base_model.model.", ".base_layer."
#: Copies that PEFT keeps of whole modules.
COPIES = (".modules_to_save.", ".original_module.", ".trainable_tokens_")


class BaseWeights:
    """How the weights of `model` are sent. Raises `Unfit` for adapters that can't be merged."""

    def __init__(self, model: LoadedModel) -> None:
        self._base = model.base
        self._adapters = adapters_of(model.network)
        #: What is served, which may be less exact than what is trained.
        self._dtypes = {
            name: model.dtype if model.masters is None else parameter.dtype
            for name, parameter in model.network.named_parameters()
        }
        copies = [name for name in self._dtypes if any(part in name for part in COPIES)]
        if copies:
            raise Unfit(f"its adapter replaces whole modules ({copies[0]})")

    @property
    def config(self) -> Any:
        """The config of the base, with the name of its architecture."""
        config = copy.deepcopy(self._base.config)
        config.architectures = [type(self._base).__name__]
        return config

    @torch.no_grad()
    def of(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yields names and weights of a checkpoint, each merged only when its turn comes.

        `weights`: as in `Engine.publish`.
        """
        streamed = self._merged(dict(weights))
        nothing: dict[str, Tensor] = {}
        if revert_weight_conversion(self._base, nothing) is nothing:
            yield from streamed
            return
        # Transformers joins or renames weights of this architecture when it loads a checkpoint.
        yield from revert_weight_conversion(self._base, dict(streamed)).items()

    def _merged(self, given: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        for name, dtype in self._dtypes.items():
            if ".lora_" in name:
                continue
            weight = given[name].detach()
            if name in self._adapters:
                weight = self._adapters[name].merged(weight, given)
            yield name.removeprefix(PREFIX).replace(BASE_LAYER, "."), weight.to(dtype)
        for prefix, module in self._base.named_modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and name not in module._non_persistent_buffers_set:
                    path = f"{prefix}.{name}" if prefix else name
                    yield path.replace(BASE_LAYER, "."), buffer
