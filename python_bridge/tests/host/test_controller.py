"""The connection by itself: it ends with its object, and says what is wrong in the host's words."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import pytest

from genac_bridge.host import controller as module
from genac_bridge.host.advice import Advice
from genac_bridge.host.controller import Controller, ControllerError


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
