"""What the controller asks of a host that waits for its answer: served once, and answered as often
as it comes.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..wire.context import BadState, OperationError
from ..wire.frames import encode
from ..wire.messages import Error, Result, ReverseRequest

Tensors = dict[str, "np.ndarray[Any, Any]"]
#: Serves one request: operation, arguments and tensors in, result and tensors out. Raises
#: `ValueError` for arguments that are wrong.
OnRequest: TypeAlias = Callable[[str, dict[str, Any], Tensors], tuple[dict[str, Any], Tensors]]


class ReverseRequests:
    """The requests that come while one ask of the host is served."""

    def __init__(self) -> None:
        self._serve: OnRequest | None = None
        #: Frames of the answers, by the request's id.
        self._answers: dict[str, list[Any]] = {}
        #: What the last request raised.
        self.failure: Exception | None = None

    def begin(self, serve: OnRequest | None) -> None:
        """Another ask begins; `serve` None: its requests are refused."""
        self._serve, self.failure = serve, None
        self._answers.clear()

    def answer(self, request: ReverseRequest, tensors: Tensors) -> list[Any]:
        """Frames of the answer. A request that comes again, after a reconnect, is not served
        again.
        """
        if request.id not in self._answers:
            self._answers[request.id] = self._served(request, tensors)
        return self._answers[request.id]

    def _served(self, request: ReverseRequest, tensors: Tensors) -> list[Any]:
        began = time.monotonic()
        try:
            if self._serve is None:
                raise BadState(f"this host does not serve {request.operation}")
            result, out = self._serve(request.operation, request.arguments, tensors)
            return encode(Result(request.id, result, time.monotonic() - began, []), out)
        except Exception as error:
            self.failure = error
            return encode(_error(request, error))


def _error(request: ReverseRequest, error: Exception) -> Error:
    words = str(error) or type(error).__name__
    if isinstance(error, OperationError):
        return Error(request.id, error.code, words, None)  # type: ignore[arg-type]  # one of them
    if isinstance(error, ValueError):
        return Error(request.id, "bad_arguments", f"{request.operation}: {words}", None)
    said = f"{request.operation} raised {type(error).__name__}: {words}"
    return Error(request.id, "function_error", said, traceback.format_exc())
