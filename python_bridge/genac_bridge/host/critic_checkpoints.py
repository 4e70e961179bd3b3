"""Checkpoints of the critic's training before the actor's: one folder in `OUTPUT_DIR/genac-critic`,
whole or not there.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .host_critic import HostCritic
from .processes import on_main

Stage = Literal["critic-sft", "critic-rl"]
STAGES: tuple[Stage, ...] = ("critic-sft", "critic-rl")
#: Within a checkpoint: the critic's weights and the controller's state.
CONTROLLER = "genac"


@dataclass(frozen=True)
class Place:
    """How far the critic's training is."""

    stage: Stage
    iteration: int
    """Steps or updates of the stage that are done."""
    complete: bool
    """Is the stage at its end?"""


class CriticCheckpoints:
    """Written every `checkpoint_every` steps of the host, and at each stage's end.

    The newest one stays.
    """

    def __init__(self, critic: HostCritic) -> None:
        self._critic = critic
        self.folder = Path(critic.host.output_dir, "genac-critic").resolve()
        #: Steps between two; None: at the stages' ends alone.
        self.every = critic.host.checkpoint_every

    def save(self, place: Place) -> None:
        """In all processes. The stage's end makes the critic's optimizer anew."""
        host = self._critic.host
        final = self.folder / f"{place.stage}-{place.iteration:06d}"
        unfinished = final.with_suffix(".unfinished")

        def write() -> None:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            self._critic.ask(
                "save",
                {
                    "folder": str(unfinished / CONTROLLER),
                    "optimizer": not place.complete,
                    "stage": place.stage,
                    "iteration": place.iteration,
                    "complete": place.complete,
                    "reward_range": host.rewards_seen,
                },
            )

        on_main(host, write)
        host.save_random_state(str(unfinished))
        host.wait_for_all()

        def finish() -> None:
            shutil.rmtree(final, ignore_errors=True)
            unfinished.rename(final)
            for other in self.folder.iterdir():
                if other != final:
                    shutil.rmtree(other, ignore_errors=True)

        on_main(host, finish)

    def restore(self) -> Place:
        """Critic, controller and random draws as the newest checkpoint has them; the beginning
        where there is none.

        In all processes. Raises `ControllerError`.
        """
        newest = on_main(self._critic.host, self._newest)
        if newest is None:
            return Place("critic-sft", 0, False)
        place = self._critic.restore_place(self.folder / newest / CONTROLLER)
        self._critic.host.load_random_state(str(self.folder / newest))
        return Place(place["stage"], place["iteration"], place["complete"])

    def _newest(self) -> str | None:
        found = self.folder.iterdir() if self.folder.is_dir() else []
        whole = [
            path.name
            for path in found
            if path.is_dir() and path.suffix == "" and path.name[:-7] in STAGES
        ]
        return max(whole, key=lambda name: (STAGES.index(name[:-7]), int(name[-6:])), default=None)
