"""One process talks to the controller; all get what it heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .controller import ControllerError
from .trainer import HostTrainer

T = TypeVar("T")


def on_main(host: HostTrainer, work: Callable[[], T]) -> T:
    """What `work` gives in the main process, in all of them.

    A `ControllerError` of it is raised in all of them.
    """
    heard: list[Any] = [None, None]
    if host.is_main:
        try:
            heard = [work(), None]
        except ControllerError as error:
            heard = [None, str(error)]
    result, fault = host.broadcast(heard)
    if fault is not None:
        raise ControllerError(fault)
    return result


def hidden(host: HostTrainer) -> bool:
    """Is no progress bar to be shown in this process?"""
    return not (host.shows_progress and host.is_main)
