"""Node and the controller are found where they are, and named where they are not."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from genac_bridge.host import node
from genac_bridge.host.critic import CriticError, command
from genac_bridge.host.node import NodeError, controller_command, environment, find_node

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pretends to be Node by shell scripts")


def pretend(folder: Path, says: str) -> str:
    folder.mkdir(parents=True)
    script = folder / "node"
    script.write_text(f"#!/bin/sh\necho {says}\n", "utf-8")
    script.chmod(0o755)
    return str(script)


@pytest.fixture(autouse=True)
def _none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Node anywhere, and none remembered."""
    node._version_of.cache_clear()
    for name in ("GENAC_NODE", "GENAC_HOME", "GENAC_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setattr(node, "_packaged_node", lambda: None)


def test_the_first_that_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = pretend(tmp_path / "chosen", "v20.19.0")
    pretend(tmp_path / "bin", "v20.18.3")
    packaged = pretend(tmp_path / "packaged", "v24.19.0")
    monkeypatch.setattr(node, "_packaged_node", lambda: packaged)
    assert find_node() == packaged
    shutil.rmtree(tmp_path / "bin")
    node._version_of.cache_clear()
    on_path = pretend(tmp_path / "bin", "v22.0.0")
    assert find_node() == on_path
    monkeypatch.setenv("GENAC_NODE", chosen)
    assert find_node() == chosen


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = "GenAC's controller needs Node 20.19 or newer"
    remedy = "install it from https://nodejs.org, or run: pip install 'genac-trl[node]'"
    with pytest.raises(NodeError) as none:
        find_node()
    assert str(none.value) == f"{needs}, and there is none: {remedy}"

    old = pretend(tmp_path / "bin", "v18.20.4")
    odd = pretend(tmp_path / "packaged", "hello")
    monkeypatch.setattr(node, "_packaged_node", lambda: odd)
    with pytest.raises(NodeError) as found:
        find_node()
    assert (
        str(found.value) == f"{needs} ({old} is 18.20.4; {odd} is not Node: "
        f"--version says 'hello'): {remedy}"
    )

    monkeypatch.setenv("GENAC_NODE", "/no/node")
    with pytest.raises(NodeError, match="GENAC_NODE is /no/node, and there is no such program"):
        find_node()
    with pytest.raises(CriticError, match="GENAC_NODE is /no/node"):
        command()


@pytest.mark.parametrize("trouble", ["no memory", "killed", "slow"])
def test_a_machine_without_room_for_a_process_is_asked_again(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pretend(tmp_path / "bin", "v22.0.0")
    asked: list[str] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command[0])
        if len(asked) % node.TRIES:
            if trouble == "no memory":
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            if trouble == "slow":
                raise subprocess.TimeoutExpired(command, options["timeout"])
            return subprocess.CompletedProcess(command, -9, "", "")
        return subprocess.CompletedProcess(command, 0, "v22.0.0\n", "")

    monkeypatch.setattr(node.subprocess, "run", run)
    monkeypatch.setattr(node.time, "sleep", lambda _seconds: None)
    assert find_node() == found
    assert find_node() == found, "remembered"
    assert asked == [found] * node.TRIES


def test_a_node_that_never_runs_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = pretend(tmp_path / "bin", "v22.0.0")
    Path(killed).write_text("#!/bin/sh\necho no room >&2; kill -9 $$\n", "utf-8")
    monkeypatch.setattr(node.time, "sleep", lambda _seconds: None)
    with pytest.raises(NodeError, match=r"bin/node ended by signal 9: no room\)"):
        find_node()
    node._version_of.cache_clear()
    Path(killed).write_text("no program", "utf-8")
    with pytest.raises(NodeError, match=r"bin/node can't be run: Exec format error\)"):
        find_node()


def test_the_controller_is_that_of_the_checkout_or_of_genac_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pretend(tmp_path / "bin", "v22.0.0")
    root = Path(__file__).resolve().parents[3]
    assert controller_command() == [found, str(root / "src/cli/genac.mjs")]
    home = tmp_path / "home"
    monkeypatch.setenv("GENAC_HOME", str(home))
    with pytest.raises(NodeError) as missing:
        controller_command()
    assert (
        str(missing.value)
        == f"there is no {home}/src/cli/genac.mjs: set GENAC_HOME to GenAC's checkout"
    )
    (home / "src/cli").mkdir(parents=True)
    (home / "src/cli/genac.mjs").touch()
    assert controller_command() == [found, str(home / "src/cli/genac.mjs")]


def test_workers_run_in_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment()["GENAC_PYTHON"] == sys.executable
    monkeypatch.setenv("GENAC_PYTHON", "/another")
    assert environment()["GENAC_PYTHON"] == "/another"
