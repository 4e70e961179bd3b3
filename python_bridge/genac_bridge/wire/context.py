"""What an operation sees of the request that it serves, and the errors with which it may end."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

Tensors = dict[str, np.ndarray]


class OperationError(Exception):
    """An operation failed in a way the caller can act on.

    `code` is one of the wire's error codes.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadArguments(OperationError):
    """The arguments are wrong; nothing was done."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_arguments", message)


class BadState(OperationError):
    """The model's state does not allow the operation; nothing was done."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_state", message)


class Context(Protocol):
    """Handed to every operation by the link."""

    def check(self) -> None:
        """Raises `OperationError` with code `cancelled` or `deadline` when the request must end.

        Cheap: call it in every decoding step and micro-batch.
        """

    def progress(self, fraction: float) -> None:
        """Says how far the operation is, 0..1; travels with the heartbeats."""

    def partial(self, data: dict[str, Any], tensors: Tensors) -> None:
        """Sends a part of the answer now."""


class NullContext:
    """A context that never cancels and keeps the partials, for tests and direct use."""

    def __init__(self) -> None:
        self.partials: list[tuple[dict[str, Any], Tensors]] = []

    def check(self) -> None:
        pass

    def progress(self, fraction: float) -> None:
        pass

    def partial(self, data: dict[str, Any], tensors: Tensors) -> None:
        self.partials.append((data, tensors))


def no_memory(error: BaseException) -> bool:
    """Returns whether a library's error says that memory ran out; the CPU's allocator says so in
    words only.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(
        error
    )
