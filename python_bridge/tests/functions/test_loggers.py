"""Rows of `metrics.jsonl` for loggers: names and steps, worked out by hand."""

import json
import math
from pathlib import Path

from genac_bridge.functions.loggers import Rows

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
