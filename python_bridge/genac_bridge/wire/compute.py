"""The thread that computes.

It takes requests in their order and never touches the socket: what it has to say goes through
`say`.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from .context import Context, OperationError, Tensors
from .frames import Buffer, FrameError, encode
from .messages import AnyMessage, Device, Error, Partial, Ready, Request, Result, Running

# Says frames; with an id: they are the answer to this request.
Say = Callable[[list[Buffer], str | None], None]


class OperationsLike(Protocol):
    """What a worker serves; `operations.Operations` is the real one."""

    def ready(self) -> dict[str, Any]: ...

    def run(
        self, operation: str, arguments: dict[str, Any], tensors: Tensors, context: Context
    ) -> tuple[dict[str, Any], Tensors]: ...


class Job:
    """A pending request, and the context its operation sees.

    `cancel` may be called by any thread.
    """

    def __init__(self, request: Request, tensors: Tensors, say: Say) -> None:
        self.request = request
        self.tensors = tensors
        self.cancelled = False
        self.fraction: float | None = None
        self.started: float | None = None
        self._say = say
        self._sequence = 0
        self._claim = threading.Lock()
        milliseconds = request.deadline_ms
        self._deadline = None if milliseconds is None else time.monotonic() + milliseconds / 1000

    def claim(self) -> bool:
        """True for the first caller only: the computing thread that starts it, or the link that
        withdraws it before.
        """
        return self._claim.acquire(blocking=False)

    def cancel(self) -> None:
        self.cancelled = True

    def check(self) -> None:
        if self.cancelled:
            raise OperationError("cancelled", "cancelled")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise OperationError(
                "deadline", f"the deadline of {self.request.deadline_ms} ms passed"
            )

    def progress(self, fraction: float) -> None:
        self.fraction = min(1.0, max(0.0, float(fraction)))

    def partial(self, data: dict[str, Any], tensors: Tensors) -> None:
        self._say(encode(Partial(self.request.id, self._sequence, data, []), tensors), None)
        self._sequence += 1

    def running(self) -> Running:
        elapsed = 0.0 if self.started is None else time.monotonic() - self.started
        return Running(self.request.id, self.request.operation, int(elapsed * 1000), self.fraction)


class Compute:
    """Makes the operations, says `ready`, then serves jobs until it must end."""

    def __init__(
        self, make: Callable[[], OperationsLike], say: Say, failed: Callable[[str], None]
    ) -> None:
        self.running: Job | None = None
        self._make = make
        self._say = say
        self._failed = failed
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._max_message_bytes = 2**30
        #: Another thread is lent for the computing (`serve_here`).
        self._lent = False
        self._started = threading.Event()

    def lend_thread(self) -> None:
        """Before `start`: the computing is done by the thread that calls `serve_here`."""
        self._lent = True

    def start(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        if self._lent:
            self._started.set()
        else:
            threading.Thread(target=self._serve, name="compute", daemon=True).start()

    def serve_here(self) -> None:
        """Computes in this thread, from `start` on; returns only where the operations could not be
        made.
        """
        while not self._started.wait(
            1.0
        ):  # with a limit, so that signals are heard on every platform
            pass
        self._serve()

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def _serve(self) -> None:
        try:
            operations = self._make()
            ready = operations.ready()
            message = Ready(ready["versions"], msgspec.convert(ready["devices"], list[Device]))
            self._say(encode(message), None)
        except BaseException:
            self._failed(f"could not load its operations:\n{traceback.format_exc()}")
            return
        while True:
            try:
                self._serve_one(operations)
            except BaseException:  # a signal's handler that raises, where no operation runs
                text = f"between two requests:\n{traceback.format_exc()}"
                print(text, file=sys.stderr, flush=True)

    def _serve_one(self, operations: OperationsLike) -> None:
        job = self._jobs.get()
        if not job.claim():
            return
        self.running = job
        try:
            frames = self._answer(operations, job)
        except BaseException as error:  # an answer that can't be framed is an answer all the same
            text = f"{type(error).__name__}: {error!a}"
            frames = encode(Error(job.request.id, "internal", text, None))
        self.running = None
        self._say(frames, job.request.id)

    def _answer(self, operations: OperationsLike, job: Job) -> list[Buffer]:
        request = job.request
        try:
            job.check()
            job.started = time.monotonic()
            result, tensors = operations.run(request.operation, request.arguments, job.tensors, job)
            message: AnyMessage = Result(request.id, result, time.monotonic() - job.started, [])
            frames = encode(message, tensors)
            size = sum(len(frame) for frame in frames)
            if size > self._max_message_bytes:
                raise FrameError(
                    f"the answer has {size} bytes, the limit is {self._max_message_bytes}"
                )
            return frames
        except OperationError as error:
            code: Any = error.code
            return encode(Error(request.id, code, str(error), _cause(error)))
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            return encode(Error(request.id, "internal", text, traceback.format_exc()))


def _cause(error: OperationError) -> str | None:
    """Returns the traceback of what an operation's error was made from, where there is one."""
    return None if error.__cause__ is None else "".join(traceback.format_exception(error.__cause__))
