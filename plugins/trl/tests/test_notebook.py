"""A trainer in a notebook: nothing is left of it when its kernel is restarted, or its cell is run
again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from test_lifecycle import wait_until_gone

from conftest import alive

CELL = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import conftest
from datasets import Dataset
from genac_trl import GenACConfig, GenACTrainer
args = GenACConfig(**conftest.settings_in(Path({folder!r})), critic_max_new_tokens=4)
trainer = GenACTrainer({model!r}, conftest.letters, args, Dataset.from_dict(conftest.COLUMNS))
print("processes", trainer._critic.controller.pid, *trainer.critic_info["pids"])
"""


class Notebook:
    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self._client = manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def run(self, cell: str) -> str:
        """What the cell prints, or its error."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            said.append(message["content"].get("text", "") + message["content"].get("evalue", ""))

        self._client.execute_interactive(cell, timeout=120, output_hook=hear)
        return "".join(said)

    def close(self) -> None:
        self._client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    manager = KernelManager()
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(env={**os.environ, "HF_HUB_OFFLINE": "1"})
    one = Notebook(manager)
    yield one
    one.close()


@pytest.mark.parametrize("way", ["restart", "restart that does not wait", "cell again"])
def test_nothing_is_left(way: str, notebook: Notebook, tiny: str, tmp_path: Path) -> None:
    cell = CELL.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "out"), model=tiny)
    said = notebook.run(cell)
    line = next((line for line in said.splitlines() if line.startswith("processes")), None)
    assert line is not None, said
    pids = [int(word) for word in line.split()[1:]]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    if way == "cell again":
        assert "processes" in notebook.run(cell)
        notebook.run("import gc; gc.collect()")
    else:
        notebook.manager.restart_kernel(now=way != "restart")
    wait_until_gone(pids)
