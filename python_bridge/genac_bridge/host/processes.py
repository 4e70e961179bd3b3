"""One process talks to the controller; all get what it heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .controller import ControllerError
from .trainer import HostTrainer

T = TypeVar("T")
Payload = TypeVar("Payload")
Answer = TypeVar("Answer")


def on_main(host: HostTrainer, work: Callable[[], T]) -> T:
    """Returns in all processes what `work` returns in the main one.

    A `ControllerError` of it is raised in all of them.
    """
    return on_main_with_help(host, lambda _: work(), _no_help)


def on_main_with_help(
    host: HostTrainer,
    work: Callable[[Callable[[Payload], Answer]], T],
    help_with: Callable[[Payload], Answer],
) -> T:
    """As `on_main`, where `work` needs the other processes in between.

    `work` is given a function: called with a payload, it calls `help_with` with that payload in all
    processes at the same time, and returns what the main process got. What `help_with` raises in
    another process ends that process. Of several processes, what it raises in the main one ends
    that one too, whatever `work` makes of it: the others still wait for its part of the help, and
    nobody can tell them.
    """
    several = host.processes > 1
    if host.is_main:
        failures: list[Exception] = []

        def ask_all(payload: Payload) -> Answer:
            if failures:
                raise failures[0]
            host.broadcast(("help", payload, None))
            try:
                return help_with(payload)
            except Exception as error:
                if several:
                    failures.append(error)
                raise

        result: Any = None
        fault: str | None = None
        try:
            result = work(ask_all)
        except ControllerError as error:
            fault = str(error)
        if failures:
            raise failures[0]
        host.broadcast(("done", result, fault))
    else:
        nothing: tuple[str, Any, str | None] = ("", None, None)
        while True:
            said, result, fault = host.broadcast(nothing)
            if said == "done":
                break
            help_with(result)
    if fault is not None:
        raise ControllerError(fault)
    answer: T = result
    return answer


def _no_help(payload: Any) -> Any:
    raise AssertionError(f"nothing was to be done in all processes, and {payload!r} came")


def hidden(host: HostTrainer) -> bool:
    """Is no progress bar to be shown in this process?"""
    return not (host.shows_progress and host.is_main)
