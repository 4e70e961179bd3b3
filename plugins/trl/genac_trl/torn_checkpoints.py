"""Checkpoints that were cut off while they were written: set aside, so that `get_last_checkpoint`
finds whole ones only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME

#: Folder in TRL's checkpoint with the critic's weights and the controller's state.
CHECKPOINT_FOLDER = "genac"


def set_torn_aside(output_dir: str | Path) -> list[str]:
    """Renames each `checkpoint-N` of this trainer that is not whole to `checkpoint-N.torn`; returns
    what it renamed.

    The critic's part is written first and Transformers' state last, so one that has both is whole.
    Checkpoints without a critic's part are not this trainer's, and stay.
    """
    folder = Path(output_dir)
    torn = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not re.fullmatch(r"checkpoint-\d+", path.name) or not path.is_dir():
            continue
        ours = (path / CHECKPOINT_FOLDER).exists() or (
            path / f"{CHECKPOINT_FOLDER}.unfinished"
        ).exists()
        if ours and not _is_whole(path):
            torn.append(_set_aside(path))
    return torn


def report_torn(trainer: Any) -> None:
    """`set_torn_aside` in the main process, with a line for each. All processes wait for it, so
    that each finds the same last checkpoint.
    """
    if trainer.accelerator.is_main_process:
        for path in set_torn_aside(trainer.args.output_dir):
            print(
                f"GenAC: a checkpoint was cut off while it was written; it is now {path}: resume "
                "from another one",
                flush=True,
            )
    trainer.accelerator.wait_for_everyone()


@contextmanager
def whole_or_set_aside(trainer: Any, path: Path) -> Iterator[None]:
    """Where writing the checkpoint `path` fails within, it is set aside."""
    existed = path.exists()
    try:
        yield
    except BaseException:
        if (
            trainer.accelerator.is_main_process
            and not existed
            and path.exists()
            and not _is_whole(path)
        ):
            _set_aside(path)
        raise


def _set_aside(path: Path) -> str:
    aside = path.with_name(f"{path.name}.torn")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.torn-{number}")
    path.rename(aside)
    return str(aside)


def _is_whole(path: Path) -> bool:
    try:
        json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (path / CHECKPOINT_FOLDER / "controller.json").is_file()
