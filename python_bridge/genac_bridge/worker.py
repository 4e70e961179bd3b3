"""Starts a worker: `python -m genac_bridge --connect ENDPOINT --name NAME`."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from pathlib import Path

from .wire.compute import OperationsLike
from .wire.link import Link
from .wire.orphan import die_with_parent, kill_group_with_parent, watch_stdin

#: A worker of functions alone. They are called in the main thread: what people write for a trainer
#: (a time limit by `signal.alarm`, `math_verify.parse` with its defaults) works there only.
FUNCTIONS = "genac_bridge.functions.call:FunctionOperations"


def make_operations(target: str) -> OperationsLike:
    """Returns an instance of `module:Class`.

    The import may take seconds: it is for the computing thread.
    """
    module, _, name = target.partition(":")
    operations: OperationsLike = getattr(importlib.import_module(module), name)()
    return operations


def _curve() -> tuple[str, str, str] | None:
    """Keys come by the environment, where other users of the machine can't read them as they can
    the command line.
    """
    names = ("GENAC_CURVE_PUBLIC_KEY", "GENAC_CURVE_SECRET_KEY", "GENAC_CURVE_SERVER_KEY")
    keys = [os.environ.get(name, "") for name in names]
    if not any(keys):
        return None
    if not all(keys):
        raise SystemExit(f"{', '.join(names)}: give all three or none")
    return keys[0], keys[1], keys[2]


def token() -> str | None:
    """Returns the token for a TCP endpoint: `GENAC_TOKEN`, or the contents of the file that
    `GENAC_TOKEN_FILE` names.
    """
    given = os.environ.get("GENAC_TOKEN")
    if given:
        return given
    path = os.environ.get("GENAC_TOKEN_FILE")
    if not path:
        return None
    try:
        return Path(path).expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise SystemExit(f"GENAC_TOKEN_FILE: {path} can't be read: {error}") from None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="genac_bridge", description="A GenAC worker.")
    parser.add_argument(
        "--connect", required=True, metavar="ENDPOINT", help="where the controller listens"
    )
    parser.add_argument(
        "--name", required=True, help="the name under which the controller expects this worker"
    )
    parser.add_argument(
        "--operations", default="genac_bridge.operations:Operations", metavar="MODULE:CLASS"
    )
    parser.add_argument(
        "--parent", type=int, metavar="PID", help="end with this process, and when stdin ends"
    )
    options = parser.parse_args(arguments)

    die_with_parent(options.parent)
    link = Link(
        options.connect,
        options.name,
        lambda: make_operations(options.operations),
        _curve(),
        # Named by the controller that started this process; processes that this one starts are
        # others.
        start_id=os.environ.pop("GENAC_START_ID", None),
        token=token(),
        is_child=options.parent is not None,
    )
    signal.signal(signal.SIGTERM, lambda *_: link.end(143, "SIGTERM"))
    signal.signal(signal.SIGINT, lambda *_: link.end(130, "interrupted"))
    if options.parent is not None:
        kill_group_with_parent()
        watch_stdin(lambda: link.end(5, "the controller is gone"))

    def serve() -> None:
        code = link.run()
        sys.stdout.flush()
        sys.stderr.flush()
        # The computing thread may be in the middle of something long; nothing is owed to it.
        os._exit(code)

    if options.operations != FUNCTIONS:
        serve()
    link.lend_thread()
    threading.Thread(target=serve, name="link").start()
    link.compute_here()
