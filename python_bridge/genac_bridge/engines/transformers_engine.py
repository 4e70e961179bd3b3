"""The engine `transformers`: the loaded network itself samples, or a copy of its weights, with the
weights that were published last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..models.model import LoadedModel
from ..wire.context import no_memory
from . import decoding, slot_check
from .engine import Completion, GenerationRequest
from .sampling_check import first_line
from .slot_serving import SlotServing


class TransformersEngine:
    """Serves a copy of the weights, in slots, where `in_slots` and where that works. Else it keeps
    one copy of the trainable weights and lends them to the network while it samples. A frozen
    model has nothing that can differ from what was published, and is not copied for that.
    """

    def __init__(self, model: LoadedModel, in_slots: bool) -> None:
        self.version = model.step
        #: Kernels of a GPU add up in another order where a batch has another size.
        self.reproducible = model.device.type == "cpu"
        self._model = model
        #: The published weights, in the trainable parameters' places and order.
        self._snapshot: dict[str, Tensor] = {}
        self._slots: SlotServing | None = None
        self._wants_slots = in_slots

    def _trained(self) -> dict[str, nn.Parameter]:
        if self._model.optimizer is None:
            return {}
        return {n: p for n, p in self._model.network.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def publish(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        if self._wants_slots:
            self._wants_slots = False
            weights = list(weights)
            self._slots = slots_of(self._model, weights)
        if self._slots is not None:
            self._slots.publish(weights)
            self.version = version
            return
        trained = self._trained()
        for name, weight in weights:
            if name not in trained:
                continue
            if name in self._snapshot:
                self._snapshot[name].copy_(weight)
            else:
                self._snapshot[name] = weight.detach().to(trained[name].dtype, copy=True)
        self.version = version

    def generate(self, request: GenerationRequest) -> list[Completion]:
        if self._slots is not None:
            return self._slots.generate(request)
        with self._served():
            return decoding.generate(self._model, request)

    def release(self, small_too: bool = False) -> None:
        """Frees the cache of a GPU, which the next request makes again; see `SlotServing`."""
        if self._slots is not None:
            self._slots.release(small_too)

    def close(self) -> None:
        self._snapshot.clear()
        self._slots = None

    @contextmanager
    def _served(self) -> Iterator[None]:
        """Within, the network's parameters hold the published weights. The parameters stay the same
        objects, so that tied weights, adapters and the optimizer keep theirs.
        """
        trained = self._trained()
        live = {name: trained[name].data for name in self._snapshot}
        try:
            for name, published in self._snapshot.items():
                trained[name].data = published
            yield
        finally:
            for name, data in live.items():
                trained[name].data = data


def slots_of(model: LoadedModel, weights: Iterable[tuple[str, Tensor]]) -> SlotServing | None:
    """Returns what serves a model in slots; None where it can't, which the log says."""
    try:
        serving = SlotServing(model)
        serving.publish(weights)
        reason = slot_check.try_out(model, serving.copy, serving.by_length)
    except Exception as error:
        if no_memory(error):
            raise
        reason = first_line(error)
    if reason is None:
        return serving
    slot_check.tell_slow(model, reason)
    return None
