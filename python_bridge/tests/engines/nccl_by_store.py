"""vLLM's transfer over NCCL without NCCL and CUDA: the store by which a group meets takes their
place, also in vLLM's own processes, which find `register` as a plugin.
"""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from genac_bridge.engines.vllm.serve import write_metadata


class ByStore:
    """NCCL's communicator, by the store of the group."""

    #: Of the trainer's groups.
    trainers: ClassVar[list[ByStore]] = []

    def __init__(self, group: Any, device: Any) -> None:
        assert device == 0
        self.group, self.ended = group, threading.Event()
        self.count = 0
        if group.rank == 0:
            self.trainers.append(self)
        # As vLLM's own, which learns of the other side before it is done.
        group.barrier()

    def broadcast(self, tensor: Tensor, src: int) -> None:
        sent = self.group.broadcast(tensor, src)
        if self.group.rank != src:
            tensor.copy_(sent)
        self.count += 1

    def destroy(self) -> None:
        self.ended.set()


class Stream:
    """A GPU's. `waits`: what was sent is not received, so that it waits until the group ends."""

    waits = False

    def __init__(self) -> None:
        self._is_used = False

    def synchronize(self) -> None:
        """vLLM's sender does so before it uses a stream, and once more at the end."""
        if self.waits and self._is_used:
            assert ByStore.trainers[0].ended.wait(20)
        self._is_used = True


def replacements() -> list[tuple[Any, str, Any]]:
    """Returns what is replaced: objects, names of theirs, and what takes the place."""
    devices, transfers = "vllm.distributed.device_communicators", "vllm.distributed.weight_transfer"
    return [
        (importlib.import_module(module), name, value)
        for module, name, value in (
            (f"{devices}.pynccl", "PyNcclCommunicator", ByStore),
            (f"{devices}.pynccl_wrapper", "NCCLLibrary", lambda: None),
            (f"{transfers}.packed_tensor", "_get_streams", lambda *_: (Stream(), Stream())),
            ("torch.accelerator", "current_device_index", lambda: 0),
            ("torch.accelerator", "synchronize", lambda *_: None),
        )
    ]


def register() -> None:
    for owner, name, value in replacements():
        setattr(owner, name, value)


def write_plugin(folder: Path) -> list[str]:
    """Writes metadata of `register`. Returns what a server's `PYTHONPATH` needs."""
    entry = "[vllm.general_plugins]\nnccl_by_store = nccl_by_store:register\n"
    write_metadata(str(folder), "nccl_by_store", "0", {"entry_points.txt": entry})
    return [str(folder), str(Path(__file__).parent)]
