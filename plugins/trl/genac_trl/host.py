"""`GenACTrainer` as a host: what `genac_bridge.host` needs of it, in TRL's terms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from accelerate.utils import broadcast_object_list

from genac_bridge.host.batch import Batch, Credit
from genac_bridge.host.continuations import Continuations, Wanted

from .continuations import continued
from .training_set import batches
from .trl_internals import log_advantages, log_valuations

T = TypeVar("T")


@dataclass
class TRLBatch(Batch):
    """A batch, and this process's part of it."""

    output: dict[str, Any] = field(default_factory=dict)
    """What GRPOTrainer made of it."""
    inputs: list[dict[str, Any]] = field(default_factory=list)
    """The rows of the data set, one for each completion."""


class TRLHost:
    """The `HostTrainer` of a `GenACTrainer`."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    @property
    def processes(self) -> int:
        return int(self._trainer.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        return bool(self._trainer.accelerator.is_main_process)

    def broadcast(self, value: T) -> T:
        boxed = [value]
        if self.processes > 1:
            broadcast_object_list(boxed)
        return boxed[0]

    def wait_for_all(self) -> None:
        self._trainer.accelerator.wait_for_everyone()

    @property
    def step(self) -> int:
        return int(self._trainer.state.global_step)

    @property
    def group_size(self) -> int:
        return int(self._trainer.num_generations)

    @property
    def output_dir(self) -> str:
        return str(self._trainer.args.output_dir)

    @property
    def checkpoint_every(self) -> int | None:
        """`save_steps`, where `save_strategy="steps"` and optimizers are kept."""
        args = self._trainer.args
        by_steps = (
            args.save_strategy == "steps" and args.save_steps >= 1 and not args.save_only_model
        )
        return int(args.save_steps) if by_steps else None

    @property
    def log_every(self) -> int:
        return int(self._trainer.args.logging_steps)

    @property
    def shows_progress(self) -> bool:
        return not self._trainer.args.disable_tqdm

    def log(self, metrics: dict[str, float], /) -> None:
        self._trainer.log(metrics)

    def sample_batches(self, skipped: int = 0) -> Iterator[TRLBatch]:
        for inputs in batches(self._trainer, skipped):
            yield self._trainer._sampled(inputs)

    def log_credit(self, batch: Batch, credit: Credit) -> None:
        """With TRL's metrics of the batch, in its next log; and in its table of completions."""
        trainer = self._trainer
        log_valuations(trainer, credit.valuations)
        mode = "train" if trainer.model.training else "eval"
        for name, value in {**credit.metrics, **trainer.reward_range.metrics()}.items():
            trainer._metrics[mode][name].append(value)
        if credit.advantages is not None and not credit.is_group_mean:
            log_advantages(
                trainer, [float(own.mean()) if len(own) else 0.0 for own in credit.advantages]
            )

    @property
    def can_continue(self) -> bool:
        return self._trainer.no_continuations is None

    def continue_responses(self, batch: Batch, wanted: Wanted) -> Continuations:
        """With TRL's own sampling and reward functions; each process does a part."""
        if self._trainer.no_continuations is not None:
            raise ValueError(self._trainer.no_continuations)
        assert isinstance(batch, TRLBatch)  # `sample_batches` and the trainer make no other
        return continued(self._trainer, batch.rows, batch.inputs, wanted)

    @property
    def rewards_seen(self) -> tuple[float, float] | None:
        seen: tuple[float, float] | None = self._trainer.reward_range.seen
        return seen

    @rewards_seen.setter
    def rewards_seen(self, seen: tuple[float, float] | None) -> None:
        self._trainer.reward_range.restore(seen)

    def save_random_state(self, folder: str) -> None:
        self._trainer._save_rng_state(folder)

    def load_random_state(self, folder: str) -> None:
        self._trainer._load_rng_state(folder)
