"""The controller as a child process of the host: its start, its end and the end of its log."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from .node import NodeError, controller_command, environment

#: Until the controller listens, in seconds.
START = 120.0


class ControllerError(RuntimeError):
    """What the controller says is wrong, or how it ended, with the end of its log."""


def start(log: Path) -> tuple[subprocess.Popen[str], str]:
    """Starts the controller; returns its process and its endpoint. `log` gets its standard error.

    Raises `ControllerError`.
    """
    variables = environment()
    # What concerns this process in its group (torchrun, accelerate) must not reach the critic's
    # worker.
    for name in (
        "RANK",
        "LOCAL_RANK",
        "WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "LOCAL_WORLD_SIZE",
        "GROUP_RANK",
        "GENAC_TOKEN",
        "GENAC_TOKEN_FILE",
    ):
        variables.pop(name, None)
    try:
        command = controller_command()
    except NodeError as error:
        raise ControllerError(str(error)) from error
    with log.open("a", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            [*command, "serve", "--child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            env=variables,
            # Ctrl-C is the trainer's; the controller ends when the trainer says so, or is gone.
            start_new_session=True,
        )
    assert process.stdout is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    stdout = process.stdout
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    try:
        said = lines.get(timeout=START)
        return process, json.loads(said)["endpoint"]
    except (queue.Empty, ValueError, KeyError) as error:
        process.kill()
        process.wait()
        raise ControllerError(
            f"the controller did not start; the end of {log}:\n{tail(log)}"
        ) from error


def end(owner: int, process: subprocess.Popen[str] | None, dealer: Any, context: Any) -> None:
    """Closes the socket `dealer` with its `context`, and ends the controller. Does nothing in
    another process than `owner`, a process id.
    """
    if os.getpid() != owner:  # A fork of the trainer (a data loader) ends: not the trainer.
        return
    with contextlib.suppress(Exception):
        dealer.disable_monitor()
        context.destroy(0)  # the monitor's socket too, on which `term` would wait without end
    if process is None:
        return
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()  # it ends itself and its workers
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()  # its workers end with it
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def how_it_ended(code: int) -> str:
    """Returns the words for the `returncode` of a process."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def tail(path: Path, lines: int = 20) -> str:
    """Returns the last lines of a file; an empty text if it can't be read."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
