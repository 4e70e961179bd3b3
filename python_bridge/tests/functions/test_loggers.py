"""Rows of `metrics.jsonl` for loggers: names and steps, worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from genac_bridge.functions import loggers
from genac_bridge.functions.loggers import Feed, Rows

NAMES: dict[str, dict[str, str]] = {"iteration": {}, "evaluation": {}}


def line(kind: str, stage: str, iteration: int, **metrics: float | None) -> str:
    return (
        json.dumps(
            {"type": kind, "stage": stage, "iteration": iteration, "seconds": 1.5, **metrics}
        )
        + "\n"
    )


def test_steps_grow_over_the_stages_and_names_get_their_prefix(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = Rows(str(path), NAMES)
    assert rows.read() == []  # nothing is there yet
    path.write_text(
        line("evaluation", "critic-sft", 0, **{"critic/heldout_mse": 0.25})
        + line("iteration", "critic-sft", 0)
        + line("iteration", "critic-sft", 1)
        + line("evaluation", "critic-sft", 2)
        + line("evaluation", "joint", 0, **{"evaluation/success": 0.5, "evaluation/pass@2": 1})
        + line("iteration", "joint", 0, reward=None)
        + '{"type": "iter'
    )
    read = rows.read()
    assert [(row.number, row.step) for row in read] == [
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 2),
        (6, 3),
    ]
    assert read[0].metrics == {
        "train/global_step": 0,
        "eval/stage": 1,
        "eval/seconds": 1.5,
        "eval/critic/heldout_mse": 0.25,
    }
    assert read[4].metrics["eval/success"] == 0.5
    assert read[4].metrics["eval/pass@2"] == 1
    assert read[5].metrics["train/stage"] == 3
    assert math.isnan(read[5].metrics["train/reward"])
    # A line that was in writing is read when it is whole.
    with path.open("a") as file:
        file.write('ation", "stage": "joint", "iteration": 1, "seconds": 2, "reward": 1}\n')
    assert [(row.number, row.step, row.metrics["train/reward"]) for row in rows.read()] == [
        (7, 4, 1.0)
    ]


def test_rows_of_a_stage_that_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """The file holds all of the run, so steps are what they were before."""
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(line("iteration", "critic-rl", i) for i in range(3)))
    again = Rows(str(path), NAMES)
    assert [row.step for row in again.read()] == [1, 2, 3]


def test_old_names_of_each_type_become_the_present_ones(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        line("evaluation", "joint", 0, **{"critic/parse_rate": 0.5})
        + line("iteration", "joint", 0, **{"critic/parse_rate": 1.0, "success_rate": 0.25})
    )
    names = {
        "iteration": {"success_rate": "actor/success_rate"},
        "evaluation": {"critic/parse_rate": "critic/heldout_parse_rate"},
    }
    evaluation, iteration = (row.metrics for row in Rows(str(path), names).read())
    assert evaluation["eval/critic/heldout_parse_rate"] == 0.5
    assert "eval/critic/parse_rate" not in evaluation
    assert iteration["train/critic/parse_rate"] == 1.0
    assert iteration["train/actor/success_rate"] == 0.25
    assert "train/success_rate" not in iteration


def course(rewards: list[float], seconds: float) -> str:
    """Iterations with these rewards, and an evaluation before the third."""
    lines = [line("iteration", "joint", i, reward=r) for i, r in enumerate(rewards)]
    lines.insert(2, line("evaluation", "joint", 2, **{"evaluation/success": rewards[1]}))
    return "".join(lines).replace('"seconds": 1.5', f'"seconds": {seconds}')


def fed(tmp_path: Path, name: str, text: str, options: dict[str, Any] | None = None) -> Feed:
    (tmp_path / "metrics.jsonl").write_text(text)
    feed = Feed(name, options or {"folder": None}, str(tmp_path), {}, NAMES)
    feed.over.set()
    feed.run()
    assert feed.error is None
    return feed


def test_tensorboard_shows_the_course_that_a_resumed_run_took(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )

    def shown() -> list[tuple[int, float]]:
        read = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
        read.Reload()
        return [(one.step, round(one.value, 3)) for one in read.Scalars("train/reward")]

    fed(tmp_path, "tensorboard", course([0.1, 0.2, 0.3, 0.4], 1.0))
    # The same course on a slower machine is nothing new.
    feed = fed(tmp_path, "tensorboard", course([0.1, 0.2, 0.3, 0.4, 0.5], 9.0))
    assert shown() == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]
    feed = fed(tmp_path, "tensorboard", course([0.1, 0.2, 0.9, 0.8], 1.0))
    assert shown() == [(1, 0.1), (2, 0.2), (3, 0.9), (4, 0.8)]
    assert feed.notice is None
    fed(tmp_path, "tensorboard", course([0.1, 0.2, 0.9, 0.8, 0.7], 1.0))
    assert shown() == [(1, 0.1), (2, 0.2), (3, 0.9), (4, 0.8), (5, 0.7)]


class Held:
    """A logger that can't take rows back."""

    id = "held"
    rows: list[tuple[int, float]]

    def __init__(self, *_: Any) -> None:
        pass

    def rows_logged(self) -> int | None:
        return None

    def log(self, number: int, step: int, metrics: dict[str, float]) -> None:
        self.rows.append((number, metrics.get("train/reward", -1)))

    def rewind(self, step: int) -> bool:
        return False

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        pass


def test_a_logger_that_keeps_its_rows_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Held.rows = []
    monkeypatch.setitem(loggers.kinds, "held", Held)
    assert fed(tmp_path, "held", course([0.1, 0.2, 0.3], 1.0)).notice is None
    feed = fed(tmp_path, "held", course([0.1, 0.9, 0.8, 0.7], 1.0))
    assert feed.notice is not None
    assert feed.notice.startswith("its rows 2 to 4 are of another course of the run")
    assert Held.rows == [(1, 0.1), (2, 0.2), (3, -1), (4, 0.3), (5, 0.7)]
    assert fed(tmp_path, "held", course([0.1, 0.9, 0.8, 0.7, 0.6], 1.0)).notice is None
    assert Held.rows[-1] == (6, 0.6)


def test_a_note_without_digests_is_believed(tmp_path: Path) -> None:
    (tmp_path / "loggers").mkdir()
    (tmp_path / "loggers" / "tensorboard.json").write_text('{"id": "x", "rows": 3}')
    fed(tmp_path, "tensorboard", course([0.1, 0.2, 0.3], 1.0))
    feed = fed(tmp_path, "tensorboard", course([0.1, 0.2, 0.3, 0.4], 1.0))
    assert feed.notice is None
    assert feed.digests[:3] == [""] * 3
    assert len(feed.digests) == 5
