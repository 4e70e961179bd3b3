"""The engine `transformers`: the loaded network itself samples, with the weights that were
published last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..models.model import LoadedModel
from . import decoding
from .engine import Completion, GenerationRequest


class TransformersEngine:
    """Keeps one copy of the trainable weights. A frozen model has nothing that can differ from what
    was published, and is not copied.
    """

    reproducible = True

    def __init__(self, model: LoadedModel) -> None:
        self.version = model.step
        self._model = model
        #: The published weights, in the trainable parameters' places and order.
        self._snapshot: dict[str, Tensor] = {}

    def _trained(self) -> dict[str, nn.Parameter]:
        if self._model.optimizer is None:
            return {}
        return {n: p for n, p in self._model.network.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def publish(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
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
        with self._served():
            return decoding.generate(self._model, request)

    def close(self) -> None:
        self._snapshot.clear()

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
