"""vLLM's side of GenAC's weight transfers. It runs in vLLM's workers, which may be processes of
their own, and is imported only where vLLM is.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from safetensors import safe_open
from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

#: Weights on offer to vLLM's worker in this process, by the number of their transfer.
offered: dict[int, Iterable[tuple[str, Tensor]]] = {}


@dataclass
class Nothing(WeightTransferInitInfo):
    """There is nothing to agree on."""


@dataclass
class Offer(WeightTransferUpdateInfo):
    number: int
    """A key of `offered`."""


@dataclass
class Folder(WeightTransferUpdateInfo):
    path: str
    """Holds safetensors files, whose tensors are checkpoint weights."""


Update = TypeVar("Update", Offer, Folder)


class Weights(WeightTransferEngine[Nothing, Update], Generic[Update]):
    """Loads weights that have the names of a checkpoint, all of them at each update."""

    init_info_cls = Nothing

    @abstractmethod
    def weights(self, update: Update) -> Iterable[tuple[str, Tensor]]:
        """Returns the weights of an update."""

    def init_transfer_engine(self, init_info: Nothing) -> None:
        pass

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # The parent's waits for the accelerator, which a CPU build does not have.
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: Update) -> None:
        self.model.load_weights(self.weights(update_info))

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type == "cpu":
            self._pack_tied_head()

    def _pack_tied_head(self) -> None:
        """CPU builds multiply by a packed copy of the head's matrix. That of a tied one keeps the
        old weights, for an update has none for it.
        """
        head = getattr(self.model, "lm_head", None)
        tied = getattr(self.model_config.hf_text_config, "tie_word_embeddings", False)
        if tied and head is not None and hasattr(head, "cpu_linear"):
            head.quant_method.process_weights_after_loading(head)

    def shutdown(self) -> None:
        pass


class MemoryWeights(Weights[Offer]):
    """Takes the very tensors that the trainer, in the same process, offers."""

    update_info_cls = Offer

    def weights(self, update: Offer) -> Iterable[tuple[str, Tensor]]:
        return offered[update.number]


class FileWeights(Weights[Folder]):
    """Reads files in a folder that both sides see."""

    update_info_cls = Folder

    def weights(self, update: Folder) -> Iterator[tuple[str, Tensor]]:
        for name in sorted(os.listdir(update.path)):
            with safe_open(os.path.join(update.path, name), framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  # it is no dict
                    yield key, file.get_tensor(key)
