"""Connections over TCP that are slow, and ones that vanish without a word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from slow_link import SlowLink
from test_link import Controller

from genac_bridge.wire import connection, frames
from genac_bridge.wire.messages import (
    PROTOCOL_VERSION,
    Hello,
    Pulse,
    Ready,
    Request,
    Result,
    Welcome,
)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Controller, SlowLink]]:
    """A worker behind a link of 400 kB/s, with 1/20 of the usual times and 1/128 of the frames."""
    monkeypatch.setattr(connection, "HEARTBEAT", 100)
    monkeypatch.setattr(connection, "HEARTBEAT_TIMEOUT", 500)
    monkeypatch.setattr(frames, "FRAME_BYTES", 8192)
    links: list[SlowLink] = []

    def behind(endpoint: str) -> str:
        links.append(SlowLink(int(endpoint.rsplit(":", 1)[1]), 400_000))
        return f"tcp://127.0.0.1:{links[0].port}"

    one = Controller("tcp://127.0.0.1:*", behind)
    yield one, links[0]
    one.link.end(0, "the test is over")
    one.thread.join(5)
    one.context.destroy(0)
    links[0].close()


def test_a_large_message_passes_a_slow_link_on_one_connection(
    remote: tuple[Controller, SlowLink],
) -> None:
    """A second each way: twice the heartbeats' timeout, and five times what the worker allows the
    controller to be silent.
    """
    controller, link = remote
    controller.greet(controller_timeout_ms=200, limit=2**20)
    controller.hear(Ready)
    array = np.arange(100_000, dtype=np.int32)
    echo = {"function": "test:echo", "keywords": {}}
    controller.say(Request("r", "call", echo, None, []), {"x": array})
    for sequence in range(100):
        controller.say(Pulse(sequence))
        if found := controller.listen(Result, 0.1):
            break
    assert found is not None
    assert np.array_equal(found[1]["x"], array)
    assert link.connections == 1


def test_a_connection_that_vanished_is_made_anew(remote: tuple[Controller, SlowLink]) -> None:
    controller, link = remote
    controller.greet()
    controller.hear(Ready)
    link.black_hole()
    controller.hear(Hello, 2)
    controller.say(Welcome(PROTOCOL_VERSION, 50, 60_000, 10_000))
    controller.call("r", "count")
    assert controller.hear(Result)[0].result == {"value": 1}


def test_a_connection_is_made_anew_before_its_worker_is_lost() -> None:
    link = Path(__file__, "../../../../src/bridge/link.ts").resolve().read_text(encoding="utf-8")
    silence = re.search(r"silenceMs = options\.silenceMs \?\? ([\d_]+);", link)
    assert silence is not None
    assert int(silence[1]) > 2 * (connection.HEARTBEAT + connection.HEARTBEAT_TIMEOUT)
