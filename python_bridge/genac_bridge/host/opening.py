"""The controller and the critic's worker start while TRL loads its own model."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from .config import controller_options, critic_option
from .controller import Controller
from .critic_model import CriticStart

#: A wait that is shorter needs no word, in seconds.
PATIENCE = 3.0


class Opening:
    """Starts the controller in a thread, and opens the critic there where all that needs is known.

    Args:
        start: starts the controller.
        request: the arguments of `open`; None: what the critic starts from is not known before TRL has its model.
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
                self._description, _ = self._controller.ask("open", self._request)
        except BaseException as error:
            self._error = error

    def finish(self, request: Callable[[], dict[str, Any]]) -> tuple[Controller, dict[str, Any]]:
        """The controller, with its critic, and what it said of it. `request` opens it, if nothing did before.

        Says on the terminal what it waits for, where that takes some seconds. Raises `ControllerError`.
        """
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            step = "the controller to start" if self._controller is None else "the critic's model to load"
            print(f"GenAC: waiting for {step}", flush=True)
            self._thread.join()
        try:
            if self._error is not None:
                raise self._error
            assert self._controller is not None
            if self._request is None:
                self._description, _ = self._controller.ask("open", request())
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


def begin(args: Any, start: CriticStart | None, controller: type[Controller]) -> AbstractContextManager[Opening | None]:
    """In the main process, where there is a critic: starts all that can start before TRL has loaded the actor.

    `start`: what the critic starts from; None: that is not known yet.

    What was started ends where the block, in which TRL makes its trainer, raises.
    """
    if critic_option(args, "critic") == "group-mean" or args.process_index != 0:
        return nullcontext()
    endpoint, timeout = (critic_option(args, f"controller_{name}") for name in ("endpoint", "timeout"))
    logs = Path(args.output_dir, "genac-logs")
    request = None if start is None else open_request(args, start)
    token_file = critic_option(args, "controller_token_file")
    shown = {} if token_file is None else {"token_file": token_file}
    return Opening(lambda: controller(logs, endpoint, timeout, **shown), request)


def open_request(args: Any, start: CriticStart) -> dict[str, Any]:
    """Arguments of `open`; who the actor is, `set_actor` says once it is loaded."""
    config_file = critic_option(args, "controller_config")
    return {
        "config_file": None if config_file is None else os.path.abspath(os.path.expanduser(config_file)),
        "options": controller_options(args, start.model, start.options),
        "base": os.getcwd(),
        "logs": str(Path(args.output_dir, "genac-logs").resolve()),
        "actor": None,
        "max_new_tokens": args.max_completion_length,
        "trust_code": critic_option(args, "critic_trust_code"),
    }
