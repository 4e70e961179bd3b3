"""The connection by itself: it ends with its object, and says what is wrong in the host's words."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_controller import FakeController

from genac_bridge.host import controller as module
from genac_bridge.host.advice import Advice
from genac_bridge.host.controller import Controller, ControllerError
from genac_bridge.wire.messages import Ask, Hello, Result


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_controller_that_is_collected_ends(tmp_path: Path) -> None:
    """As when a notebook's cell is run again."""
    controller = Controller(tmp_path / "logs")
    pid = controller.pid
    assert pid is not None
    assert is_there(pid)
    del controller
    gc.collect()
    deadline = time.monotonic() + 30
    while is_there(pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Named(Controller):
    advice = Advice(token_file="my_token_file")


@pytest.mark.parametrize(("kind", "name"), [(Controller, "token_file"), (Named, "my_token_file")])
def test_options_are_named_as_the_host_names_them(
    kind: type[Controller], name: str, tmp_path: Path
) -> None:
    with pytest.raises(ControllerError, match=rf"^{name}: /no/file can't be read"):
        kind(tmp_path, endpoint="tcp://127.0.0.1:9", token_file="/no/file")


def test_an_endpoint_where_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GREETING", 1.0)
    with pytest.raises(ControllerError, match=r"nobody answered at tcp://127\.0\.0\.1:9"):
        Controller(tmp_path, endpoint="tcp://127.0.0.1:9")


@contextlib.contextmanager
def host_of(script: Callable[[FakeController, Ask], None], folder: Path) -> Iterator[Controller]:
    """A host's side of a controller that does as the script says."""
    fake = FakeController(script)
    controller = Controller(folder, endpoint=fake.endpoint)
    yield controller
    controller.close()
    fake.finish()


def test_an_ask_that_never_gets_through_ends_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RESENDS", 2)

    def script(fake: FakeController, ask: Ask) -> None:
        for _ in range(3):
            fake.lose_connection()
            while not isinstance(fake.hear()[0], Hello):
                pass  # the ask, sent again before the connection was lost

    words = r"^fence: its \d+ bytes were sent 2 times, .* 1 Mbit/s, or smaller batches$"
    with host_of(script, tmp_path) as controller, pytest.raises(ControllerError, match=words):
        controller.ask("fence", {})


def test_connections_that_held_long_enough_for_the_ask_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RESENDS", 1)
    monkeypatch.setattr(module, "CARRIED", 0.2)

    def script(fake: FakeController, ask: Ask) -> None:
        for _ in range(3):
            time.sleep(0.5)
            fake.lose_connection()
            assert isinstance(fake.hear()[0], Hello)
            assert isinstance(fake.hear()[0], Ask)
        fake.say(Result(ask.id, {"metrics": {}}, 0.5, []))

    with host_of(script, tmp_path) as controller:
        assert controller.ask("fence", {})[0] == {"metrics": {}}


def test_connections_that_broke_while_nothing_was_asked_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RESENDS", 1)
    broken = threading.Event()

    def script(fake: FakeController, ask: Ask) -> None:
        fake.say(Result(ask.id, {}, 0.5, []))
        for _ in range(3):
            time.sleep(0.3)  # in which it connects
            fake.lose_connection()
        broken.set()
        while not isinstance(asked := fake.hear()[0], Ask):
            pass
        fake.say(Result(asked.id, {"metrics": {}}, 0.5, []))

    with host_of(script, tmp_path) as controller:
        controller.ask("fence", {})
        broken.wait(20)
        assert controller.ask("fence", {})[0] == {"metrics": {}}


def test_a_slow_answer_is_no_silence_while_heartbeats_show_that_the_controller_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.5)

    def script(fake: FakeController, ask: Ask) -> None:
        time.sleep(1.2)  # without a pulse, as behind a large message
        fake.say(Result(ask.id, {"metrics": {}}, 0.5, []))

    with host_of(script, tmp_path) as controller:
        assert controller.ask("fence", {})[0] == {"metrics": {}}
