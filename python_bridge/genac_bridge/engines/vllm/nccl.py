"""Weights over NCCL, to a server on other GPUs than the trainer's, of this machine or of another.
The trainer is rank 0 of a group, vLLM's workers are the others. vLLM's code on both sides.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import torch
from torch import Tensor

from ...models.model import make_current
from .sending import Client, Stream, Transfer, source_of

#: Seconds for one transfer; longer than the server may take to answer one call.
LIMIT = 900.0

T = TypeVar("T")


class Asked(Client, Protocol):
    """A server's client, by which it can also be asked for other things."""

    url: str

    def get(self, path: str) -> Any: ...

    def post(self, path: str, body: dict[str, Any]) -> Any: ...


class Nccl(Transfer):
    """`device`: the trainer's GPU. The group is made at the first transfer, and serves all.

    NCCL waits for the other side without a deadline. So it works in a thread of its own, and the
    caller's hears of the first request that the server does not answer, or answers with an error.
    Then the group is aborted, which ends what the GPU waits for. Not a group that is not made yet:
    its thread ends with this process. A server that stays up may wait on.
    """

    backend = "nccl"

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Stream = tuple
        self._sender: Any = None

    def send(self, client: Client, stream: Stream) -> None:
        if self._device.type == "cuda":
            # NCCL's streams don't wait for the last step.
            torch.cuda.synchronize(self._device)
        self._stream = stream
        try:
            if self._sender is None:
                self._sender = self._join(cast(Asked, client))
            self._run(self._sender.client, self._sender.send_weights)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.shutdown()

    def _join(self, client: Asked) -> Any:
        """Makes the group. Returns vLLM's sender."""
        from vllm.distributed.device_communicators.pynccl_wrapper import NCCLLibrary
        from vllm.distributed.weight_transfer.nccl_engine import (
            NCCLTrainerInitInfo,
            NCCLTrainerWeightTransferEngine,
        )

        NCCLLibrary()  # without it vLLM's sender does nothing, and says nothing
        # What the server has of a trainer before this one.
        client.post("shutdown_weight_transfer_engine", {})
        workers = int(client.get("get_world_size")["world_size"])
        address = address_towards(client.url)
        port = free_port(address)
        info = NCCLTrainerInitInfo(
            rank=0, master_address=address, master_port=port, world_size=1 + workers
        )
        watched = Watched(client)
        try:
            return self._run(
                watched,
                lambda: NCCLTrainerWeightTransferEngine.trainer_init(
                    info, client=watched, source=source_of(self._weights)
                ),
            )
        except Exception as error:
            raise RuntimeError(
                f"no NCCL group of the trainer at {address}:{port} and the server's {workers} "
                f"worker(s), which must reach it and have other GPUs: {error}"
            ) from error

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        for pair in self._stream():
            if self._sender is None:
                # Aborting ends the wait of a thread, which would go on with the next weights.
                raise RuntimeError("the transfer was given up")
            yield pair

    def _run(self, client: Watched, work: Callable[[], T]) -> T:
        """Returns what `work`, which calls `client`, does in a thread. Raises what it raises, or a
        call before it, and `TimeoutError` after `LIMIT`.
        """
        ended: Future[T] = Future()
        client.ended = ended

        def run() -> None:
            try:
                make_current(self._device)
                result = work()
            except BaseException as error:
                fail(ended, error)
            else:
                with suppress(InvalidStateError):
                    ended.set_result(result)

        threading.Thread(target=run, name="nccl", daemon=True).start()
        if not wait([ended], LIMIT).done:
            raise TimeoutError(f"NCCL did not end within {LIMIT:g} s")
        return ended.result()


class Watched:
    """Passes calls on, and tells `ended` of one that fails."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.ended: Future[Any] = Future()

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._call(lambda: self._client.init_weight_transfer_engine(init_info))

    def start_weight_update(self) -> None:
        self._call(self._client.start_weight_update)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._call(lambda: self._client.update_weights(update_info))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._call(lambda: self._client.finish_weight_update(weight_version))

    def _call(self, call: Callable[[], None]) -> None:
        ended = self.ended
        try:
            call()
        except BaseException as error:
            fail(ended, error)
            raise


def fail(ended: Future[Any], error: BaseException) -> None:
    """Ends a future by an error, unless it has ended."""
    with suppress(InvalidStateError):
        ended.set_exception(error)


def address_towards(url: str) -> str:
    """Returns the IPv4 address of this machine from which it reaches a server, and is reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((urlsplit(url).hostname, 9))  # chooses the way, and sends nothing
        return str(way.getsockname()[0])


def free_port(address: str) -> int:
    """Returns a port of this machine that nothing listens on."""
    with socket.socket() as found:
        found.bind((address, 0))
        return int(found.getsockname()[1])
