"""A host's end of the wire: starts the controller, asks it, and ends it on every way out."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import zmq

from ..wire.connection import Connection
from ..wire.frames import Decoder, FrameError, encode
from ..wire.messages import (
    PROTOCOL_VERSION,
    Ask,
    Bye,
    Error,
    Hello,
    Partial,
    Pulse,
    Reject,
    Result,
    ReverseRequest,
    ToHost,
    Welcome,
    schema_hash,
)
from ..worker import token
from .advice import Advice
from .child import ControllerError as ControllerError  # hosts import it from here
from .child import end, how_it_ended, start, tail
from .reverse_requests import OnRequest, ReverseRequests, Tensors

#: A controller that says nothing for so many seconds is gone; it says something every second.
SILENCE = 60.0
#: Connections in a row that break before they could have carried the ask. Where the heartbeats drop
#: them, that takes two minutes.
MOST_RESENDS = 10
#: A connection that holds for so many seconds, and longer for a large ask, has carried it.
CARRIED = 15.0
#: Bytes a second of the slowest link that is served (1 Mbit/s).
SLOWEST = 125_000
#: Until it answers the greeting, in seconds.
GREETING = 30.0
#: From goodbye to the end of the controller and its workers, in seconds.
END = 20.0
#: The controller says so of a critic that needs continuations (`createCritic`).
NO_ACTOR = "there is no actor here that can"


class Controller:
    """A controller of this process: a child, or with `endpoint` one that was started by hand
    (`genac serve --listen tcp://...`).

    One that was started by hand asks for a token: `token_file` holds it, else `GENAC_TOKEN`, or the
    file that
    `GENAC_TOKEN_FILE` names.

    Not for several threads at once. `logs`: folder of `controller.log` and of the workers' logs.
    Raises `ControllerError` if it can't be started or refuses.
    """

    #: Names of options in errors; a host with its own options sets them in a subclass.
    advice: ClassVar[Advice] = Advice()

    def __init__(
        self,
        logs: str | os.PathLike[str],
        endpoint: str | None = None,
        timeout: float | None = None,
        token_file: str | None = None,
    ) -> None:
        self.logs = Path(logs).resolve()
        self.logs.mkdir(parents=True, exist_ok=True)
        self._log = self.logs / "controller.log"
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None
        self._last_id = 0
        self._identity = f"host-{uuid.uuid4().hex}"
        own = endpoint is None
        shown = None if own else _token(token_file, self.advice)
        if endpoint is None:
            self._process, endpoint = start(self._log)
        self._context = zmq.Context()
        self._connection = Connection(self._context, endpoint, self._identity)
        self._socket = self._connection.dealer
        self._socket.setsockopt(zmq.LINGER, 500)
        if shown is not None:
            self._connection.show_token(shown)
        self._decoder = Decoder(ToHost)
        self._closed = False
        #: Connections that were too short for the ask, one after the other.
        self._fruitless = 0
        #: Set by another thread: nothing is waited for any more.
        self._aborted = threading.Event()
        self._owner = os.getpid()
        # On every way out that Python knows: collection, normal exit, an exception, `sys.exit`. For
        # those that it doesn't (SIGKILL) there is the child's standard input.
        self._finalizer = weakref.finalize(
            self, end, os.getpid(), self._process, self._socket, self._context
        )
        #: Frames of the ask that has no answer yet; they are sent again after a reconnect.
        self._unanswered: list[Any] | None = None
        #: The operation whose answer is waited for.
        self._asking: str | None = None
        self._requests = ReverseRequests()
        self._connection.connect()
        try:
            self._greet(endpoint)
        except BaseException:
            self._finalizer()
            raise

    @property
    def pid(self) -> int | None:
        """Of the child; None for a controller that was started by hand."""
        return self._process.pid if self._process else None

    def ask(
        self,
        operation: str,
        arguments: dict[str, Any],
        tensors: Tensors | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        on_request: OnRequest | None = None,
    ) -> tuple[dict[str, Any], Tensors]:
        """The answer's result and tensors. Raises `ControllerError`.

        `on_request`: serves what the controller asks meanwhile, each request once, however often it
        comes. What it raises is the answer to the controller; what is no `Exception`, such as
        `KeyboardInterrupt`, is raised here too. Its time does not count against the timeout.
        """
        if self._closed:
            raise ControllerError("the controller is closed")
        if self._asking is not None:
            raise ControllerError(
                f"{operation} can't be asked while {self._asking} has no answer: the controller "
                "serves one after the other. Ask outside of `continue_responses` and callbacks"
            )
        self._last_id += 1
        asked = f"h-{self._last_id}"
        self._unanswered = self._framed(Ask(asked, operation, arguments, []), tensors)  # type: ignore[arg-type]  # checked by the other side
        self._asking = operation
        self._fruitless = 0
        self._requests.begin(asked, on_request)
        try:
            self._connection.send(self._unanswered)
            return self._answer_to(asked, operation, on_progress)
        except BaseException as error:
            if self._unanswered is not None:
                self._give_up(error)
            raise
        finally:
            self._asking = None

    def _answer_to(
        self, asked: str, operation: str, on_progress: Callable[[dict[str, Any]], None] | None
    ) -> tuple[dict[str, Any], Tensors]:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            message, received = self._receive(f"{operation} had no answer yet", deadline)
            if isinstance(message, Result | Error):
                self._requests.end(message.id)
            if not isinstance(message, Welcome | Pulse):
                self._fruitless = 0
            match message:
                case Partial() if message.id == asked and on_progress:
                    on_progress(message.data)
                case Result() if message.id == asked:
                    self._unanswered = None
                    return message.result, received
                case Error() if message.id in (asked, None):
                    self._unanswered = None
                    raise ControllerError(
                        _words_of(message, self.advice)
                    ) from self._requests.failure
                case ReverseRequest():
                    began = time.monotonic()
                    answer = self._requests.answer(message, received)
                    self._connection.send(answer)
                    self._requests.sent()
                    if deadline is not None:
                        deadline += time.monotonic() - began

    def _give_up(self, error: BaseException) -> None:
        """Waits for an answer no longer; the controller gets one for what it asked meanwhile."""
        self._unanswered = None
        refusal = self._requests.give_up(error)
        if refusal is not None:
            with contextlib.suppress(zmq.ZMQError):  # closed
                self._connection.send(refusal)

    def _greet(self, endpoint: str) -> None:
        self._hello()
        while True:
            message, _ = self._receive(
                f"nobody answered at {endpoint} (or it knows another token)",
                time.monotonic() + GREETING,
            )
            if isinstance(message, Welcome):
                self._decoder.max_message_bytes = message.max_message_bytes
                return
            if isinstance(message, Reject):
                raise ControllerError(f"the controller at {endpoint} refused: {message.message}")

    def _hello(self) -> None:
        self._send(
            Hello(
                name="host",
                start_id=self._identity[:64],
                protocol_min=PROTOCOL_VERSION,
                protocol_max=PROTOCOL_VERSION,
                schema_hash=schema_hash(),
                pid=os.getpid(),
                host=socket.gethostname(),
            )
        )

    def _framed(self, message: Any, tensors: Tensors | None = None) -> list[Any]:
        try:
            return encode(message, tensors)
        except FrameError as error:
            raise ControllerError(str(error)) from error

    def _send(self, message: Any, tensors: Tensors | None = None) -> None:
        self._connection.send(self._framed(message, tensors))

    def _reconnected(self) -> None:
        """After each handshake but the first: greets again, and asks again for what has no answer,
        which may have been lost.

        The controller serves an ask once, however often it comes. Raises `ControllerError` where
        the ask never gets through.
        """
        known = max(1, self._connection.count)
        while self._connection.monitor.poll(0):
            self._connection.read_event()
        if self._connection.count <= known:
            return
        self._hello()
        if self._unanswered is None:
            return
        size = sum(len(frame) for frame in self._unanswered)
        carried = self._connection.held > CARRIED + size / SLOWEST
        self._fruitless = 0 if carried else self._fruitless + 1
        if self._fruitless > MOST_RESENDS:
            raise ControllerError(
                f"{self._asking}: its {size} bytes were sent {MOST_RESENDS} times, and each time "
                "the connection broke before an answer came. Use a link that holds and carries "
                "1 Mbit/s, or smaller batches"
            )
        self._connection.send(self._unanswered)

    def _receive(self, waiting: str, deadline: float | None) -> tuple[Any, Tensors]:
        """Returns the next message.

        Raises `ControllerError` when the controller ended, fell silent, or the deadline passed.
        """
        heard = looked = time.monotonic()
        self._reconnected()
        while not self._socket.poll(200):
            self._reconnected()
            now = time.monotonic()
            heard += max(
                0.0, now - looked - 1
            )  # this process was stopped: what it could not hear is no silence
            looked = now
            if self._connection.vouches:
                heard = now
            if self._aborted.is_set():
                raise ControllerError("the start of the controller was given up")
            if self._process is not None and self._process.poll() is not None:
                raise ControllerError(
                    self._with_log(
                        f"the controller ended ({how_it_ended(self._process.returncode)})"
                    )
                )
            if now - heard > SILENCE:
                raise ControllerError(
                    self._with_log(f"no word from the controller for {SILENCE:.0f} s; {waiting}")
                )
            if deadline is not None and now > deadline:
                raise ControllerError(self._with_log(f"{waiting}, and the time for it is over"))
        if deadline is not None and time.monotonic() > deadline:  # pulses alone
            raise ControllerError(self._with_log(f"{waiting}, and the time for it is over"))
        frames = [frame.buffer for frame in self._socket.recv_multipart(copy=False)]
        return self._decoder.decode(frames)

    def _with_log(self, what: str) -> str:
        last = tail(self._log) if self._process else ""
        return f"{what}; the end of {self._log}:\n{last}" if last else what

    @property
    def alive(self) -> bool:
        """Can it still answer? False once it was closed or its process ended."""
        return not self._closed and (self._process is None or self._process.poll() is None)

    def abort(self) -> None:
        """Ends what another thread waits for, with a `ControllerError` there.

        `close` comes next.
        """
        self._aborted.set()

    def close(self) -> None:
        """Ends the controller and its workers. May be called twice."""
        if self._closed or os.getpid() != self._owner:
            return
        self._closed = True
        with contextlib.suppress(Exception):
            self._send(Bye("the trainer closes"))
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END)
        self._finalizer()


def _token(token_file: str | None, advice: Advice) -> str | None:
    """Raises `ControllerError` for a file that can't be read."""
    if token_file is not None:
        try:
            return Path(token_file).expanduser().read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise ControllerError(
                f"{advice.token_file}: {token_file} can't be read: {error}"
            ) from None
    try:
        return token()
    except SystemExit as error:
        raise ControllerError(str(error)) from None


def _words_of(error: Error, advice: Advice) -> str:
    said = error.message
    if error.code == "out_of_memory":
        said += f". This is the critic's process: {advice.memory}"
    if NO_ACTOR in said:
        said += advice.continuations
    # For what the user can mend the sentence is enough; otherwise the traceback comes first, and
    # the sentence is what one sees.
    enough = error.traceback is None or error.code in (
        "bad_arguments",
        "bad_state",
        "out_of_memory",
    )
    return said if enough else f"{error.traceback}\n{said}"
