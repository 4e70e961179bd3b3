"""One process talks to the controller; all get what it heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate.utils import broadcast_object_list

from .controller import ControllerError

T = TypeVar("T")


def on_main(accelerator: Any, work: Callable[[], T]) -> T:
    """What `work` gives in the main process, in all of them. A `ControllerError` of it is raised in all of them."""
    heard: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            heard = [work(), None]
        except ControllerError as error:
            heard = [None, str(error)]
    if accelerator.num_processes > 1:
        broadcast_object_list(heard)
    result, fault = heard
    if fault is not None:
        raise ControllerError(fault)
    return result


def hidden(trainer: Any) -> bool:
    """Is no progress bar to be shown in this process?"""
    return bool(trainer.args.disable_tqdm or not trainer.accelerator.is_main_process)
