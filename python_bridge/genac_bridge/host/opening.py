"""The controller and the critic's worker start while the host loads its own model."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from .controller import Controller

#: A wait that is shorter needs no word, in seconds.
PATIENCE = 3.0


class Opening:
    """Starts the controller in a thread, and opens the critic there where all that needs is known.

    Args:
        start: starts the controller.
        request: the arguments of `open`; None: what the critic starts from is not known before the
            host has its model.
    """

    def __init__(self, start: Callable[[], Controller], request: dict[str, Any] | None) -> None:
        self._start = start
        self._request = request
        self._controller: Controller | None = None
        self._description: dict[str, Any] = {}
        self._error: BaseException | None = None
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="genac-opening", daemon=True)
        self._thread.start()

    def __enter__(self) -> Opening:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abandon()

    def _run(self) -> None:
        try:
            self._controller = self._start()
            if self._given_up:
                self._controller.abort()
            elif self._request is not None:
                self._open(self._controller, self._request)
        except BaseException as error:
            self._error = error

    def _open(self, controller: Controller, request: dict[str, Any]) -> None:
        description, _ = controller.ask("open", request)
        self._description = {**description, "max_new_tokens": request["max_new_tokens"]}

    def finish(self, request: Callable[[], dict[str, Any]]) -> tuple[Controller, dict[str, Any]]:
        """Returns the controller, with its critic, and its description of the critic; with
        `max_new_tokens` of the request.

        `request` opens the critic, if the thread did not. Prints what it waits for, if that takes
        some seconds. Raises `ControllerError`.
        """
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            step = (
                "the controller to start"
                if self._controller is None
                else "the critic's model to load"
            )
            print(f"GenAC: waiting for {step}", flush=True)
            self._thread.join()
        try:
            if self._error is not None:
                raise self._error
            assert self._controller is not None
            if self._request is None:
                self._open(self._controller, request())
        except BaseException:
            self.abandon()
            raise
        return self._controller, self._description

    def abandon(self) -> None:
        """Ends what was started: the trainer will not be."""
        self._given_up = True
        if self._thread.is_alive() and self._controller is not None:
            self._controller.abort()
        self._thread.join()
        if self._controller is not None:
            self._controller.close()


def open_request(
    options: dict[str, Any],
    logs: str | os.PathLike[str],
    config_file: str | None = None,
    actor: dict[str, Any] | None = None,
    max_new_tokens: int | None = None,
    trust_code: bool = False,
    continues: bool = False,
    critic_default: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the arguments of `open` (`src/bridge/host-operations.ts`).

    Args:
        options: what goes before the file, in its shape: `{"critic": {"model": ...}}`. Paths in it
            are relative to the working directory.
        logs: folder for the workers' logs.
        config_file: YAML file of the controller's config.
        actor: `name` and `parameters` of the actor; None: `set_actor` says them later.
        max_new_tokens: the most that a response can have; None: not known.
        trust_code: may code run that the config of the run names in which the critic's model lies?
        continues: `can_continue` of the host.
        critic_default: the host's own checkpoint, `model` and how it is read, for a critic that
            needs a model if neither the options nor the file name one.
    """
    return {
        "config_file": None
        if config_file is None
        else os.path.abspath(os.path.expanduser(config_file)),
        "options": options,
        "base": os.getcwd(),
        "logs": os.path.realpath(logs),
        "actor": actor,
        "max_new_tokens": max_new_tokens,
        "trust_code": trust_code,
        "continues": continues,
        "critic_default": critic_default or {},
    }
