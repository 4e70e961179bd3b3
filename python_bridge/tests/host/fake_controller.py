"""A controller for tests: greets a host, and does with its ask what a script says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from genac_bridge.wire.frames import Decoder, encode
from genac_bridge.wire.messages import PROTOCOL_VERSION, AnyMessage, Ask, Bye, Hello, Welcome


class FakeController:
    """Listens in a thread. `script` is called with this object and the host's first ask; it runs in
    that thread, and may call `say`, `hear` and `lose_connection`.
    """

    def __init__(self, script: Callable[[FakeController, Ask], None]) -> None:
        self._script = script
        self._context = zmq.Context()
        self._decoder = Decoder(AnyMessage)
        self._host = b""
        self._listen("tcp://127.0.0.1:*")
        #: Of the host, in their order, after the first ask.
        self.heard: list[Any] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _listen(self, endpoint: str) -> None:
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 500)
        self._socket.setsockopt(zmq.RCVTIMEO, 20_000)
        deadline = time.monotonic() + 10
        while True:
            try:
                self._socket.bind(endpoint)
                break
            except zmq.ZMQError:  # the old socket is still being closed
                assert time.monotonic() < deadline
                time.sleep(0.01)
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def _run(self) -> None:
        try:
            message, _ = self.hear()
            while not isinstance(message, Ask):
                message, _ = self.hear()
            self.heard.clear()
            self._script(self, message)
            while not isinstance(message, Bye):
                message, _ = self.hear()
        except BaseException as error:
            self.error = error
        finally:
            self._socket.close()

    def hear(self) -> tuple[Any, dict[str, Any]]:
        """The next message of the host, and its tensors; a greeting is answered."""
        self._host, *frames = self._socket.recv_multipart()
        message, tensors = self._decoder.decode([memoryview(frame) for frame in frames])
        self.heard.append(message)
        if isinstance(message, Hello):
            self.say(Welcome(PROTOCOL_VERSION, 1000, 60_000, 2**30))
        return message, tensors

    def say(self, message: Any, tensors: dict[str, Any] | None = None) -> None:
        self._socket.send_multipart([self._host, *encode(message, tensors)])

    def lose_connection(self) -> None:
        """Closes, and listens again in the same place; what was sent last may be lost."""
        endpoint = self.endpoint
        self._socket.close(0)
        self._listen(endpoint)

    def finish(self) -> None:
        """Waits for the script and the host's goodbye; raises what went wrong."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._context.destroy(0)
        if self.error is not None:
            raise self.error
