"""The worker's end against a ROUTER whose every word the test writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from bridge_operations import EchoOperations

from genac_bridge.wire.answers import Answers
from genac_bridge.wire.context import Tensors
from genac_bridge.wire.frames import Decoder, encode, in_pieces
from genac_bridge.wire.link import Link
from genac_bridge.wire.messages import (
    PROTOCOL_VERSION,
    Bye,
    Cancel,
    Drain,
    Error,
    FromWorker,
    Heartbeat,
    Hello,
    Partial,
    Pulse,
    Ready,
    Reject,
    Request,
    Result,
    Shutdown,
    Welcome,
    schema_hash,
)


class Controller:
    """`behind`: where the worker connects to, for the endpoint that is bound."""

    def __init__(
        self,
        endpoint: str,
        behind: Callable[[str], str] = lambda endpoint: endpoint,
        is_child: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.context = zmq.Context()
        self.codes: list[int] = []
        self.bind()
        self.endpoint = self.router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.link = Link(
            behind(self.endpoint), "w", EchoOperations, start_id="start-1", is_child=is_child
        )
        self.thread = threading.Thread(
            target=lambda: self.codes.append(self.link.run()), daemon=True
        )
        self.thread.start()

    def bind(self) -> None:
        self.router = self.context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.LINGER, 0)
        self.router.setsockopt(zmq.ROUTER_HANDOVER, 1)  # as the controller's
        self.router.bind(self.endpoint)

    def say(self, message: Any, tensors: Tensors | None = None) -> None:
        self.router.send_multipart([b"start-1", *in_pieces(encode(message, tensors))])

    def hear(self, kind: type, seconds: float = 20) -> tuple[Any, Tensors]:
        """The next message of this kind; others are passed over."""
        found = self.listen(kind, seconds)
        assert found is not None, f"no {kind.__name__} within {seconds} s"
        return found

    def listen(self, kind: type, seconds: float) -> tuple[Any, Tensors] | None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.router.poll(left * 1000):
                message, tensors = Decoder(FromWorker).decode(self.router.recv_multipart()[1:])
                if isinstance(message, kind):
                    return message, tensors
        return None

    def greet(
        self, heartbeat_ms: int = 50, controller_timeout_ms: int = 60_000, limit: int = 10_000
    ) -> None:
        self.hear(Hello)
        self.say(Welcome(PROTOCOL_VERSION, heartbeat_ms, controller_timeout_ms, limit))

    def call(
        self, request_id: str, name: str, deadline_ms: int | None = None, **keywords: Any
    ) -> None:
        self.say(
            Request(
                request_id,
                "call",
                {"function": f"test:{name}", "keywords": keywords},
                deadline_ms,
                [],
            ),
        )

    def ended(self) -> int:
        self.thread.join(5)
        assert self.codes, "the link did not end"
        return self.codes[0]


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    one = Controller(f"ipc://{tmp_path}/s")
    yield one
    one.link.end(0, "the test is over")
    one.thread.join(5)
    one.context.destroy(0)


def test_handshake_and_echo(controller: Controller) -> None:
    hello, _ = controller.hear(Hello)
    assert (hello.name, hello.start_id, hello.schema_hash) == ("w", "start-1", schema_hash())
    controller.say(Welcome(PROTOCOL_VERSION, 50, 60_000, 10_000))
    ready, _ = controller.hear(Ready)
    assert ready.devices[0].name == "cpu"
    array = np.array([[1.5, 2.5]], np.float32)
    controller.say(
        Request("r", "call", {"function": "test:echo", "keywords": {"a": 1}}, None, []),
        {"x": array},
    )
    result, tensors = controller.hear(Result)
    assert (result.id, result.result) == ("r", {"value": {"a": 1}})
    assert tensors["x"].tolist() == [[1.5, 2.5]]


def test_a_request_that_comes_twice_is_served_once(controller: Controller) -> None:
    controller.greet()
    controller.hear(Ready)
    for request_id, value in (("r1", 1), ("r1", 1), ("r2", 2), ("r1", 1), ("r3", 3)):
        controller.call(request_id, "count")
        answer, _ = controller.hear(Result)
        assert (answer.id, answer.result) == (request_id, {"value": value})


def test_repeated_while_it_runs(controller: Controller) -> None:
    controller.greet()
    for _ in range(3):
        controller.call("r", "sleep", seconds=0.2, cooperative=False)
    controller.call("next", "count")
    assert [controller.hear(Result)[0].id for _ in range(2)] == ["r", "next"]


def test_heartbeats_and_cancel_while_it_computes(controller: Controller) -> None:
    controller.greet()
    controller.hear(Ready)
    controller.call("long", "sleep", seconds=60, cooperative=True)
    controller.call("queued", "count")
    while (beat := controller.hear(Heartbeat)[0]).running is None:
        pass
    assert (beat.running.id, beat.running.operation, beat.queued) == ("long", "call", 1)
    controller.say(Cancel("queued"))
    error, _ = controller.hear(Error)
    assert (error.id, error.code) == ("queued", "cancelled")
    controller.say(Cancel("long"))
    error, _ = controller.hear(Error)
    assert (error.id, error.code) == ("long", "cancelled")
    controller.call("after", "count")
    assert controller.hear(Result)[0].result == {"value": 1}  # `queued` was never begun


def test_deadline(controller: Controller) -> None:
    controller.greet()
    controller.call("late", "sleep", deadline_ms=100, seconds=60, cooperative=True)
    error, _ = controller.hear(Error)
    assert (error.id, error.code) == ("late", "deadline")


def test_partials(controller: Controller) -> None:
    controller.greet()
    controller.call("r", "parts", number=3)
    parts = [controller.hear(Partial) for _ in range(3)]
    assert [(part.sequence, part.data, tensors["squares"].tolist()) for part, tensors in parts] == [
        (0, {"index": 0}, [0]),
        (1, {"index": 1}, [1]),
        (2, {"index": 2}, [4]),
    ]


def test_broken_messages_are_answered_and_the_next_is_served(controller: Controller) -> None:
    controller.greet()
    controller.hear(Ready)
    head, data = encode(Request("broken", "call", {}, None, []), {"x": np.zeros(2)})
    for frames in ([b"rubbish"], [head, data[:8]], [head]):
        controller.router.send_multipart([b"start-1", *frames])
    errors = [controller.hear(Error)[0] for _ in range(3)]
    assert [(error.id, error.code) for error in errors] == [
        (None, "bad_message"),
        ("broken", "bad_message"),
        ("broken", "bad_message"),
    ]
    controller.router.send_multipart([b"start-1", head, bytes(20_000)])
    assert "exceeds the limit of 10000" in controller.hear(Error)[0].message
    unknown = head.replace(b"\xa4call", b"\xa4fall")
    controller.router.send_multipart([b"start-1", unknown, data])
    assert "fall" in controller.hear(Error)[0].message
    controller.call("r", "count")
    assert controller.hear(Result)[0].result == {"value": 1}


def test_after_a_reconnect_it_says_hello_and_remembers(controller: Controller) -> None:
    controller.greet()
    controller.hear(Ready)
    controller.call("r", "count")
    assert controller.hear(Result)[0].result == {"value": 1}
    controller.router.close()
    controller.bind()
    hello, _ = controller.hear(Hello)
    assert hello.start_id == "start-1"
    controller.say(Welcome(PROTOCOL_VERSION, 50, 60_000, 10_000))
    controller.call("r", "count")
    assert controller.hear(Result)[0].result == {"value": 1}


def test_a_request_does_not_overtake_those_that_a_broken_connection_lost(
    controller: Controller,
) -> None:
    controller.greet()
    controller.hear(Ready)
    controller.router.close()
    controller.bind()
    controller.hear(Hello)
    controller.call("new", "count")  # the controller has not read `hello` yet
    controller.say(Welcome(PROTOCOL_VERSION, 50, 60_000, 10_000))
    for request_id in ("lost", "new"):
        controller.call(request_id, "count")
    answers = [controller.hear(Result)[0] for _ in range(2)]
    assert [(one.id, one.result["value"]) for one in answers] == [("lost", 1), ("new", 2)]


def test_drain_finishes_what_is_queued_and_takes_nothing_new(controller: Controller) -> None:
    controller.greet()
    controller.call("r1", "sleep", seconds=0.2, cooperative=False)
    controller.call("r2", "count")
    controller.say(Drain())
    controller.call("r3", "count")
    error, _ = controller.hear(Error)
    assert (error.id, error.code) == ("r3", "bad_state")
    assert [controller.hear(Result)[0].id for _ in range(2)] == ["r1", "r2"]
    assert controller.hear(Bye)[0].reason == "drained"
    assert controller.ended() == 0


def test_shutdown_does_not_wait(controller: Controller) -> None:
    controller.greet()
    controller.call("r", "sleep", seconds=60, cooperative=False)
    controller.say(Shutdown("enough"))
    assert controller.hear(Bye)[0].reason == "shutdown: enough"
    assert controller.ended() == 0


def test_a_refused_worker_ends(controller: Controller) -> None:
    controller.hear(Hello)
    controller.say(Reject("schema", "another version"))
    assert controller.ended() == 3


def test_silence_of_the_controller_ends_it_and_pulses_do_not(controller: Controller) -> None:
    controller.greet(controller_timeout_ms=400)
    for sequence in range(8):
        controller.say(Pulse(sequence))
        time.sleep(0.1)
    assert controller.thread.is_alive()
    assert controller.ended() == 4


def test_silence_does_not_end_a_child_whose_controller_may_be_stopped(tmp_path: Path) -> None:
    controller = Controller(f"ipc://{tmp_path}/s", is_child=True)
    controller.greet(controller_timeout_ms=200)
    controller.hear(Ready)
    time.sleep(1.5)
    controller.call("r", "count")
    assert controller.hear(Result)[0].result == {"value": 1}
    controller.say(Shutdown("the test is over"))
    assert controller.ended() == 0
    controller.context.destroy(0)


def test_answers_are_forgotten_but_their_ids_are_not() -> None:
    answers = Answers(max_answers=2, max_bytes=100, max_ids=3)
    for name in ("a", "b", "c"):
        answers.add(name, [name.encode()])
    assert answers.get("a") is None
    assert "a" in answers
    assert answers.get("c") == [b"c"]
    answers.add("d", [bytes(500)])
    assert answers.get("c") is None
    assert answers.get("d") == [bytes(500)]
    assert "a" not in answers


def test_monitor_stands_before_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hello` follows the monitor's word of a handshake; one that is over before the monitor stands
    would go unsaid.
    """
    connected: list[str] = []
    connect, monitor = zmq.Socket.connect, zmq.Socket.get_monitor_socket

    def noted(socket: zmq.Socket[Any], endpoint: str) -> Any:
        connected.append(endpoint)
        return connect(socket, endpoint)

    def watched(socket: zmq.Socket[Any], *events: int) -> Any:
        assert "tcp://127.0.0.1:9" not in connected
        return monitor(socket, *events)

    monkeypatch.setattr(zmq.Socket, "connect", noted)
    monkeypatch.setattr(zmq.Socket, "get_monitor_socket", watched)
    link = Link("tcp://127.0.0.1:9", "fast", EchoOperations)  # nobody listens there
    assert "tcp://127.0.0.1:9" in connected
    link.end(0, "done")
    link.run()
