"""`evaluate` of Python: the result of a command, its folder, and its words where it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genac_bridge import CriticError, evaluate
from genac_bridge.host import evaluation

ROOT = Path(__file__).parents[2]


def options(folder: str) -> dict[str, object]:
    return {
        "folder": folder,
        "task": {"use": str(ROOT / "test/fixtures/length-task.ts")},
        "actor": {"model": "task:blank", "success_rate": 0.5},
        "sampling": {"max_new_tokens": 6},
        "references": "outcomes",
        "prompts": 3,
        "candidates": 2,
        "bootstrap": 100,
        "critics": {"mean": "group-mean"},
    }


def test_result_is_that_of_the_folder_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    said: list[str] = []
    result = evaluate(options("~/first"), log=said.append)
    assert result == json.loads((tmp_path / "first" / "evaluation.json").read_text())
    assert result["distributions"]["none"]["problems"] == 3
    assert "none: states of 3/3 problems" in said


def test_options_that_are_not_valid_are_an_error_in_words(tmp_path: Path) -> None:
    given = {**options(str(tmp_path / "bad")), "promts": 3}
    with pytest.raises(CriticError, match='promts: no such option; did you mean "prompts"'):
        evaluate(given, log=lambda _: None)


def test_a_command_that_ends_before_it_has_read_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "process.stdin.destroy(); console.error('no room'); process.exit(1)"
    monkeypatch.setattr(evaluation, "command", lambda: ["node", "-e", code])
    given = {**options("x"), "note": "long" * 1_000_000}
    with pytest.raises(CriticError, match="no room"):
        evaluate(given, log=lambda _: None)
