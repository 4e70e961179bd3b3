"""Starts a stand-in for vLLM's server in the place of vLLM, for tests without it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import LOADING

FOLDER = Path(__file__).parent / "stand_in"
#: What a server that the worker starts is given in these tests: nothing fits the stand-in's words.
OPTIONS: dict[str, Any] = {"server": True, "max_logprob_gap": 1000.0}


class Starts:
    """What every stand-in told of its start."""

    def __init__(self, record: Path) -> None:
        self._record = record

    def __iter__(self) -> Any:
        return iter(map(json.loads, self._record.read_text().splitlines()))

    @property
    def last(self) -> dict[str, Any]:
        return list(self)[-1]

    def living(self) -> list[int]:
        """Returns the process ids of all that live."""
        return [pid for start in self for pid in start["pids"] if is_alive(pid)]

    def wait_until_gone(self) -> None:
        self.wait_until_left([])

    def wait_until_left(self, pids: list[int]) -> None:
        """A process that was killed may need a moment to end."""
        end = time.monotonic() + 10
        while set(self.living()) != set(pids) and time.monotonic() < end:
            time.sleep(0.02)
        assert set(self.living()) == set(pids)


def is_alive(pid: int) -> bool:
    """Returns whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def group(leader: int) -> list[int]:
    """Returns the process ids of a process group that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue  # it ended meanwhile
        if rest.split()[2] == str(leader):
            found.append(int(stat.parent.name))
    return [pid for pid in found if is_alive(pid)]


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Starts:
    """Servers find the stand-in where they look for vLLM."""
    path = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH")]))
    record = tmp_path / "starts.jsonl"
    record.touch()
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("STAND_IN_RECORD", str(record))
    # Logs of failed servers, too.
    monkeypatch.setenv("GENAC_WORKER_LOG", str(tmp_path / "worker.log"))
    return Starts(record)


def loading(**options: Any) -> dict[str, Any]:
    return {**LOADING, "engine": "vllm", "engine_options": {**OPTIONS, **options}}
