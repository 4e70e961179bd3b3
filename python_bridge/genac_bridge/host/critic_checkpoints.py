"""Checkpoints of the critic's training before the actor's: one folder in `OUTPUT_DIR/genac-critic`, whole or not there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .processes import on_main

Stage = Literal["critic-sft", "critic-rl"]
STAGES: tuple[Stage, ...] = ("critic-sft", "critic-rl")
#: Within a checkpoint: the critic's weights and the controller's state.
CONTROLLER = "genac"


@dataclass(frozen=True)
class Place:
    """Where the critic's training stands."""

    stage: Stage
    iteration: int
    """Steps or updates of the stage that are done."""
    complete: bool
    """Is the stage at its end?"""


class CriticCheckpoints:
    """Written every `save_steps` steps where `save_strategy="steps"`, and at each stage's end. The newest one stays."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.folder = Path(trainer.args.output_dir, "genac-critic").resolve()
        args = trainer.args
        by_steps = args.save_strategy == "steps" and args.save_steps >= 1 and not args.save_only_model
        #: Steps between two; None: at the stages' ends alone.
        self.every: int | None = int(args.save_steps) if by_steps else None

    def save(self, place: Place) -> None:
        """In all processes. The stage's end makes the critic's optimizer anew."""
        accelerator = self._trainer.accelerator
        final = self.folder / f"{place.stage}-{place.iteration:06d}"
        unfinished = final.with_suffix(".unfinished")

        def critic() -> None:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            self._trainer.ask(
                "save",
                {
                    "folder": str(unfinished / CONTROLLER),
                    "optimizer": not place.complete,
                    "stage": place.stage,
                    "iteration": place.iteration,
                    "complete": place.complete,
                    "reward_range": self._trainer.reward_range.seen,
                },
            )

        on_main(accelerator, critic)
        self._trainer._save_rng_state(str(unfinished))
        accelerator.wait_for_everyone()

        def finish() -> None:
            shutil.rmtree(final, ignore_errors=True)
            unfinished.rename(final)
            for other in self.folder.iterdir():
                if other != final:
                    shutil.rmtree(other, ignore_errors=True)

        on_main(accelerator, finish)

    def restore(self) -> Place:
        """Critic, controller and random draws as the newest checkpoint has them; the beginning where there is none. In all processes. Raises `ControllerError`."""
        newest = on_main(self._trainer.accelerator, self._newest)
        if newest is None:
            return Place("critic-sft", 0, False)
        folder = str(self.folder / newest / CONTROLLER)
        told = on_main(self._trainer.accelerator, lambda: self._trainer.ask("restore", {"folder": folder})[0])
        self._trainer._load_rng_state(str(self.folder / newest))
        self._trainer.reward_range.restore(told["reward_range"])
        return Place(told["stage"], told["iteration"], told["complete"])

    def _newest(self) -> str | None:
        found = self.folder.iterdir() if self.folder.is_dir() else []
        whole = [path.name for path in found if path.is_dir() and path.suffix == "" and path.name[:-7] in STAGES]
        return max(whole, key=lambda name: (STAGES.index(name[:-7]), int(name[-6:])), default=None)
