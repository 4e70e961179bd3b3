"""Two processes are as one: the main one owns the controller, and each has the advantages of its
own completions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("distributed_script.py")


def run(folder: Path, processes: int, *arguments: str) -> list[dict[str, Any]]:
    """What each process told."""
    folder.mkdir()
    start = (
        []
        if processes == 1
        else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    )
    done = subprocess.run(
        [sys.executable, *start, str(SCRIPT), str(folder), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [
        json.loads((folder / f"rank-{rank}.json").read_text("utf-8")) for rank in range(processes)
    ]


@pytest.fixture(scope="module", params=["own", "language"])
def told(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny: str,
    no_gate: str,
) -> Any:
    """Of one process and of two: with a critic in JavaScript, and with a language model that
    learns, alone first and then with the actor.
    """
    critic = request.getfixturevalue("own_critic" if request.param == "own" else "scorer")
    folder = tmp_path_factory.mktemp("distributed")
    return [run(folder / str(n), n, tiny, critic, no_gate) for n in (1, 2)]


def test_advantages_are_those_of_one_process(told: Any) -> None:
    (alone,), both = told
    # Three groups of four: the second is split.
    assert [one["own"] for one in both] == [6, 6]
    assert len(alone["rows"]) == 12
    for one in both:
        assert [ids for ids, _ in one["rows"]] == [ids for ids, _ in alone["rows"]]
        for (_, got), (_, wanted) in zip(one["rows"], alone["rows"], strict=True):
            assert got == pytest.approx(wanted, abs=1e-6)
    # Something to tell apart: several advantages in a response, and another in each group.
    assert max(len(set(advantages)) for _, advantages in alone["rows"]) >= 2
    assert alone["rows"][0][1] != alone["rows"][4][1]


def test_training_is_that_of_one_process(told: Any) -> None:
    (alone,), both = told
    assert len(alone["critic/states"]) == 2
    for one in both:
        assert one["critic/states"] == alone["critic/states"]
        assert one["critic/loss"] == pytest.approx(alone["critic/loss"], rel=1e-5)
        assert one["critic/parse_rate"] == alone["critic/parse_rate"]
        assert one["weight"] == pytest.approx(alone["weight"], rel=1e-5)
    assert both[0]["weight"] == both[1]["weight"]


def test_the_critic_alone_learns_as_with_one_process(told: Any) -> None:
    (alone,), both = told
    if "alone" not in alone:
        pytest.skip("a critic in JavaScript that does not learn")
    assert alone["kept"] == ["genac", "rng_state.pth"]
    for one in both:
        assert one["alone"] == pytest.approx(alone["alone"], rel=1e-5)
        assert one["kept"] == ["genac", "rng_state_0.pth", "rng_state_1.pth"]


def test_all_processes_hear_of_the_controller_s_end(told: Any) -> None:
    (alone,), both = told
    assert "the controller ended (signal 9)" in alone["error"]
    assert "the controller ended (signal 9)" in both[0]["error"]
    assert both[1]["error"] == both[0]["error"]
