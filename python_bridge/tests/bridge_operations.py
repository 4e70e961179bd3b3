"""Operations without a model, so that tests of the bridge start in a moment.

Reached by the real operation `call` with the names below.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from genac_bridge.engines.vllm.process import Log, Process, log_path
from genac_bridge.wire.context import BadState, Context, Tensors


class EchoOperations:
    """`call` with `test:NAME` runs the method NAME with the keywords; every other operation is
    refused.
    """

    def __init__(self) -> None:
        self.counter = 0
        self.servers: list[Process] = []

    def ready(self) -> dict[str, Any]:
        device = {"name": "cpu", "description": "none", "memory_bytes": None, "bfloat16": False}
        return {"versions": {"python": sys.version.split()[0]}, "devices": [device]}

    def run(
        self, operation: str, arguments: dict[str, Any], tensors: Tensors, context: Context
    ) -> tuple[dict[str, Any], Tensors]:
        if operation != "call":
            raise BadState(f"{operation} is not offered here")
        name = arguments["function"].removeprefix("test:")
        value, out = getattr(self, name)(tensors, context, **arguments["keywords"])
        return {"value": value}, out

    def echo(self, tensors: Tensors, context: Context, **keywords: Any) -> tuple[Any, Tensors]:
        return keywords, tensors

    def take(self, tensors: Tensors, context: Context) -> tuple[Any, Tensors]:
        """Receives tensors and gives their number back, for one-way throughput."""
        return len(tensors), {}

    def sleep(
        self, tensors: Tensors, context: Context, seconds: float, cooperative: bool
    ) -> tuple[Any, Tensors]:
        """Waits; a cooperative operation looks at its context every 10 ms."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(0.01, left) if cooperative else left)
            if cooperative:
                context.check()
                context.progress(1 - left / seconds)
        return "slept", {}

    def hold(self, tensors: Tensors, context: Context, seconds: float) -> tuple[Any, Tensors]:
        """Holds Python's lock, as a regular expression does: no other thread runs meanwhile."""
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        return "held", {}

    def count(self, tensors: Tensors, context: Context) -> tuple[Any, Tensors]:
        """How often this was called, this call included."""
        self.counter += 1
        return self.counter, {}

    def parts(self, tensors: Tensors, context: Context, number: int) -> tuple[Any, Tensors]:
        for index in range(number):
            context.partial({"index": index}, {"squares": np.array([index * index], np.int32)})
        return number, {}

    def large(self, tensors: Tensors, context: Context, size: int) -> tuple[Any, Tensors]:
        return size, {"zeros": np.zeros(size, np.uint8)}

    def not_finite(self, tensors: Tensors, context: Context) -> tuple[Any, Tensors]:
        return float("nan"), {}

    def fail(self, tensors: Tensors, context: Context) -> tuple[Any, Tensors]:
        raise ZeroDivisionError("on purpose")

    def fail_in_words(self, tensors: Tensors, context: Context, unit: int) -> tuple[Any, Tensors]:
        """An exception whose text holds half of a surrogate pair."""
        raise ValueError(f"no {chr(unit)}")

    def half(self, tensors: Tensors, context: Context, unit: int) -> tuple[Any, Tensors]:
        return {f"k{chr(unit)}": [chr(unit)]}, {}

    def die(self, tensors: Tensors, context: Context, text: str) -> tuple[Any, Tensors]:
        print(text, flush=True)
        os._exit(9)

    def spawn(self, tensors: Tensors, context: Context) -> tuple[Any, Tensors]:
        """A child of this process, which must not outlive it; its process id."""
        return subprocess.Popen(["sleep", "600"]).pid, {}

    def serve(self, tensors: Tensors, context: Context, deaf: bool) -> tuple[Any, Tensors]:
        """A server as of the engine vllm, with a child of its own: their process ids, the server's
        folder, and where its log would be. `deaf`: to SIGTERM.
        """
        folder = tempfile.mkdtemp()
        said = Path(folder, "child")
        script = 'sleep 600 & echo $! > "$0.new"; mv "$0.new" "$0"; wait'
        if deaf:
            script = f"trap '' TERM; {script}"
        command = ["/bin/sh", "-c", script, str(said)]
        log = Log(str(Path(folder, "log")))
        self.servers.append(Process(command, dict(os.environ), folder, log))
        while not said.exists():
            time.sleep(0.01)
        pids = [self.servers[-1].pid, int(said.read_text())]
        return {"pids": pids, "folder": folder, "log": log_path("m/1")}, {}


class BrokenOperations:
    """Dies while it starts."""

    def __init__(self) -> None:
        raise RuntimeError("there is no such model")
