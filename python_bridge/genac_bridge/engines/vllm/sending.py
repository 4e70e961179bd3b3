"""The trainer's side of weight transfers: each gives vLLM all weights, under the names of a
checkpoint, within one update of vLLM's.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from safetensors.torch import save_file
from torch import Tensor

from . import plugin

#: Bytes of weights in one file.
FILE_BYTES = 2**30
#: A folder in memory, on Linux.
SHARED = "/dev/shm"
PREFIX = "genac-weights-"
#: A process has locked its folder after so many seconds.
YOUNG = 60.0

Stream = Callable[[], Iterable[tuple[str, Tensor]]]


class Client(Protocol):
    """Calls of vLLM's weight transfer, under vLLM's own names (`VLLMWeightSyncClient`)."""

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None: ...

    def start_weight_update(self) -> None: ...

    def update_weights(self, update_info: dict[str, Any]) -> None: ...

    def finish_weight_update(self, weight_version: str | None = None) -> None: ...


class Transfer(Protocol):
    """Sends weights. `backend` is its name in vLLM's `weight_transfer_config`."""

    backend: str

    def send(self, client: Client, stream: Stream) -> None:
        """Replaces all weights of vLLM's by those of `stream`, which may be read more than once."""

    def close(self) -> None:
        """Ends what lasts from one transfer to the next: nothing, for most."""
        return


class Memory(Transfer):
    """Tensors of this process, which vLLM's worker is in, too."""

    backend = plugin.MEMORY
    _numbers = itertools.count()

    def send(self, client: Client, stream: Stream) -> None:
        from .transfer import offered

        number = next(self._numbers)
        offered[number] = stream()
        try:
            client.start_weight_update()
            client.update_weights({"number": number})
            client.finish_weight_update()
        finally:
            del offered[number]


class Files(Transfer):
    """Files of safetensors in a folder that vLLM's workers see; each is removed once it was read.

    `folder`: where they are written; None: in memory where Linux has a place for that, else where
    temporary files are. There, what a process left that was killed while it sent is removed, for
    in memory it would stay until the machine restarts.
    """

    backend = plugin.FILES

    def __init__(self, folder: str | None = None) -> None:
        self._parent = folder or (SHARED if os.path.isdir(SHARED) else None)
        #: A folder that is named may be another machine's too, whose locks are not seen here.
        self._removes = folder is None

    def send(self, client: Client, stream: Stream) -> None:
        if self._removes:
            remove_leftovers(self._parent or tempfile.gettempdir())
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=self._parent)
        held = os.open(folder, os.O_RDONLY)
        try:
            if self._removes:
                fcntl.flock(held, fcntl.LOCK_EX)
            client.start_weight_update()
            for part in parts(stream(), FILE_BYTES):
                path = os.path.join(folder, "weights.safetensors")
                save_file({name: weight.cpu().contiguous() for name, weight in part}, path)
                client.update_weights({"path": folder})
                os.remove(path)
            client.finish_weight_update()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def remove_leftovers(parent: str) -> None:
    """Removes folders of weights that no process of this machine holds any more. A lock tells, and
    not a process's number, which means nothing in another container. What can't be removed is left.
    """
    for name in os.listdir(parent):
        if not name.startswith(PREFIX):
            continue
        folder = os.path.join(parent, name)
        try:
            if time.time() - os.stat(folder).st_mtime < YOUNG:
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # another user's, or another process was faster
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # it is being sent
            pass
        finally:
            os.close(held)


class CudaIpc(Transfer):
    """Handles of a GPU's memory, for vLLM's workers on the same GPU in processes of their own: a
    process can't open its own handles. vLLM's code on both sides; packed, so that it takes a
    buffer and not a copy of the weights.
    """

    backend = "ipc"

    def send(self, client: Client, stream: Stream) -> None:
        from vllm.distributed.weight_transfer.ipc_engine import (
            IPCTrainerInitInfo,
            IPCTrainerWeightTransferEngine,
        )

        IPCTrainerWeightTransferEngine.trainer_init(
            IPCTrainerInitInfo(rank=0, packed=True), client=client, source=source_of(stream)
        ).send_weights()


def source_of(stream: Stream) -> Any:
    """Returns weights as vLLM's senders read them: first what they are, then themselves."""
    from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

    class Source(WeightSource):
        def metadata(self) -> list[Any]:
            return [ParamMeta(name, w.dtype, tuple(w.shape)) for name, w in stream()]

        def __iter__(self) -> Iterator[tuple[str, Tensor]]:
            return iter(stream())

    return Source()


def parts(weights: Iterable[tuple[str, Tensor]], size: int) -> Iterator[list[tuple[str, Tensor]]]:
    """Yields weights in lists of at most `size` bytes, or of one weight that has more."""
    part: list[tuple[str, Tensor]] = []
    taken = 0
    for name, weight in weights:
        if part and taken + weight.nbytes > size:
            yield part
            part, taken = [], 0
        part.append((name, weight))
        taken += weight.nbytes
    if part:
        yield part
