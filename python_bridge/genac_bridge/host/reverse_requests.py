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
from .child import ControllerError

Tensors = dict[str, "np.ndarray[Any, Any]"]
#: Serves one request: operation, arguments and tensors in, result and tensors out. Raises
#: `ValueError` for arguments that are wrong.
OnRequest: TypeAlias = Callable[[str, dict[str, Any], Tensors], tuple[dict[str, Any], Tensors]]


class ReverseRequests:
    """The requests that come while one ask of the host is served."""

    def __init__(self) -> None:
        #: The ask whose answer the host waits for.
        self._ask = ""
        self._serve: OnRequest | None = None
        #: Frames of the answers, by the request's id.
        self._answers: dict[str, list[Any]] = {}
        #: The request whose answer is not on the wire yet.
        self._pending: ReverseRequest | None = None
        #: The ask that the host gave up and the controller still serves.
        self._given_up: str | None = None
        #: What the last request raised.
        self.failure: Exception | None = None

    def begin(self, ask: str, serve: OnRequest | None) -> None:
        """The host waits for the answer to `ask`; `serve` None: its requests are refused."""
        self._ask, self._serve, self.failure = ask, serve, None
        self._answers.clear()

    def answer(self, request: ReverseRequest, tensors: Tensors) -> list[Any]:
        """Frames of the answer. A request that comes again, after a reconnect, is not served
        again.

        Raises what `serve` raises that is no `Exception`; then `give_up` has the answer.
        """
        if request.id not in self._answers:
            self._pending = request
            self._answers[request.id] = self._served(request, tensors)
        return self._answers[request.id]

    def sent(self) -> None:
        """The answer is on the wire."""
        self._pending = None

    def give_up(self, error: BaseException) -> list[Any] | None:
        """The host waits no longer: the ask's requests are refused until its answer comes.

        Returns the frames that answer the request that was being served; None: there was none.
        """
        self._given_up = self._ask
        pending, self._pending = self._pending, None
        return None if pending is None else encode(_error(pending, error))

    def end(self, ask: str | None) -> None:
        """The answer to `ask` came. As the controller serves one ask after the other, an earlier
        one has ended too.
        """
        if ask in (self._given_up, self._ask):
            self._given_up = None

    def _served(self, request: ReverseRequest, tensors: Tensors) -> list[Any]:
        began = time.monotonic()
        try:
            if self._given_up is not None:
                raise BadState(f"{request.operation}: the host gave up what this belongs to")
            if self._serve is None:
                raise BadState(f"this host does not serve {request.operation}")
            result, out = self._serve(request.operation, request.arguments, tensors)
            return encode(Result(request.id, result, time.monotonic() - began, []), out)
        except Exception as error:
            self.failure = error
            return encode(_error(request, error))


def _error(request: ReverseRequest, error: BaseException) -> Error:
    words = str(error) or type(error).__name__
    if isinstance(error, OperationError):
        return Error(request.id, error.code, words, None)  # type: ignore[arg-type]  # one of them
    if isinstance(error, ControllerError):  # the host asked the controller, which waits for it
        return Error(request.id, "function_error", f"{request.operation}: {words}", None)
    if isinstance(error, ValueError):
        return Error(request.id, "bad_arguments", f"{request.operation}: {words}", None)
    said = f"{request.operation} raised {type(error).__name__}: {words}"
    return Error(request.id, "function_error", said, traceback.format_exc())
