"""A checkpoint is whole or not there: after a kill while it was written, and after the critic's
death during it.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.trainer_utils import get_last_checkpoint

from conftest import Make
from genac_trl import ControllerError
from genac_trl.torn_checkpoints import report_torn, set_torn_aside


def whole(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "genac").mkdir(parents=True)
    (path / "genac" / "controller.json").write_text("{}")
    (path / "trainer_state.json").write_text('{"global_step": 1}')
    return path


def test_what_is_torn_is_renamed_and_nothing_else(tmp_path: Path) -> None:
    assert set_torn_aside(tmp_path / "nowhere") == []
    whole(tmp_path, 1)
    (tmp_path / "checkpoint-2").mkdir()  # another trainer's, however torn
    (whole(tmp_path, 3) / "trainer_state.json").write_text('{"global_st')
    (whole(tmp_path, 4) / "trainer_state.json").unlink()
    shutil.rmtree(whole(tmp_path, 5) / "genac")
    (tmp_path / "checkpoint-5" / "genac.unfinished").mkdir()
    (whole(tmp_path, 6) / "genac" / "controller.json").unlink()
    (tmp_path / "checkpoint-6.torn").mkdir()
    assert [Path(path).name for path in set_torn_aside(tmp_path)] == [
        "checkpoint-3.torn",
        "checkpoint-4.torn",
        "checkpoint-5.torn",
        "checkpoint-6.torn-2",
    ]
    assert {path.name for path in tmp_path.iterdir() if "torn" not in path.name} == {
        "checkpoint-1",
        "checkpoint-2",
    }
    assert set_torn_aside(tmp_path) == []


def test_all_processes_wait_until_what_is_torn_is_renamed(tmp_path: Path) -> None:
    (whole(tmp_path, 1) / "trainer_state.json").unlink()
    both = threading.Barrier(2, timeout=10)

    def process(is_main: bool) -> Any:
        accelerator = SimpleNamespace(is_main_process=is_main, wait_for_everyone=both.wait)
        return SimpleNamespace(
            args=SimpleNamespace(output_dir=str(tmp_path)), accelerator=accelerator
        )

    main = threading.Timer(0.2, report_torn, [process(True)])
    main.start()
    report_torn(process(False))
    assert get_last_checkpoint(str(tmp_path)) is None
    main.join()


def test_a_trainer_goes_on_from_the_last_whole_one(make: Make, scorer: str) -> None:
    """A process that is killed while it saves leaves the critic's part and some of TRL's."""
    options = {
        "critic_model": scorer,
        "critic_max_new_tokens": 4,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    first = make(**options, max_steps=2)
    first.train()
    folder = Path(first.args.output_dir)
    first.close()
    (folder / "checkpoint-2" / "trainer_state.json").unlink()
    second = make(**options, max_steps=3)
    last = get_last_checkpoint(second.args.output_dir)
    assert last == str(folder / "checkpoint-1")
    second.train(resume_from_checkpoint=last)
    assert second.state.global_step == 3


def test_the_critic_s_death_while_it_is_saved_leaves_no_checkpoint(make: Make, scorer: str) -> None:
    trainer = make(
        critic_model=scorer,
        critic_max_new_tokens=4,
        save_strategy="steps",
        save_steps=1,
        max_steps=1,
    )
    save = trainer.save_critic

    def dies(*given: object, **options: object) -> None:
        for pid in trainer.critic_info["pids"]:
            os.kill(pid, signal.SIGKILL)
        save(*given, **options)

    trainer.save_critic = dies
    with pytest.raises(ControllerError):
        trainer.train()
    assert get_last_checkpoint(trainer.args.output_dir) is None
