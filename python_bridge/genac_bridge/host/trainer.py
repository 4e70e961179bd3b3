"""What GenAC needs of a trainer that samples and optimizes by itself: a host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from .batch import Batch, Credit
from .continuations import Continuations, Wanted

T = TypeVar("T")


class HostTrainer(Protocol):
    """An adapter of one trainer. With several processes, each has one."""

    @property
    def processes(self) -> int:
        """How many processes train together."""

    @property
    def is_main(self) -> bool:
        """Is this the one process that talks to the controller?"""

    def broadcast(self, value: T) -> T:
        """Returns the main process's `value` in all processes."""

    def wait_for_all(self) -> None:
        """Returns when all processes have called it."""

    @property
    def step(self) -> int:
        """Optimizer steps of the actor so far."""

    @property
    def group_size(self) -> int:
        """Responses to each prompt in training."""

    @property
    def output_dir(self) -> str:
        """Folder of the run."""

    @property
    def checkpoint_every(self) -> int | None:
        """Steps between two checkpoints of the critic's own training; None: at its stages' ends."""

    @property
    def log_every(self) -> int:
        """Steps of stage 1 between two calls of `log`."""

    @property
    def shows_progress(self) -> bool:
        """Are there progress bars?"""

    def log(self, metrics: dict[str, float], /) -> None:
        """Logs metrics, now."""

    def sample_batches(self, skipped: int = 0) -> Iterator[Batch]:
        """Returns the batches of the actor's responses to the training set, without end.

        The first `skipped` are left out; nothing is sampled for them. Raises `ValueError` for a
        training set that gives none.
        """

    def log_credit(self, batch: Batch, credit: Credit) -> None:
        """Logs the metrics of a batch's credit, now or with the next `log`.

        A host that shows advantages or valuations shows these.
        """

    @property
    def can_continue(self) -> bool:
        """Can it continue responses from the middle? The same in all processes."""

    def continue_responses(self, batch: Batch, wanted: Wanted) -> Continuations:
        """Samples continuations and scores the whole responses with the reward functions.

        All processes call it at the same time, with the same `wanted`, and get the same. `batch` is
        the one whose credit is being assigned. No state of the trainer changes: its random draws,
        its logs, the range of its rewards. Raises `ValueError` for what can't be continued.
        """

    #: Least and largest reward so far, where they map rewards to [0, 1]: checkpoints hold them.
    rewards_seen: tuple[float, float] | None

    def save_random_state(self, folder: str) -> None:
        """Writes the state of this process's random generators to `folder`, which is there."""

    def load_random_state(self, folder: str) -> None:
        """Restores what `save_random_state` wrote."""
