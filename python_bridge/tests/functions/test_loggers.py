"""Rows of `metrics.jsonl` for loggers: names and steps, worked out by hand."""

import json
import math
from pathlib import Path

from genac_bridge.functions.loggers import Rows


def line(kind: str, stage: str, iteration: int, **metrics: float | None) -> str:
    return (
        json.dumps(
            {"type": kind, "stage": stage, "iteration": iteration, "seconds": 1.5, **metrics}
        )
        + "\n"
    )


def test_steps_grow_over_the_stages_and_names_get_their_prefix(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = Rows(str(path))
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
    again = Rows(str(path))
    assert [row.step for row in again.read()] == [1, 2, 3]
