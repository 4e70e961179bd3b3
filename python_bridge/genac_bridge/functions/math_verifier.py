"""The reward `math-verify`: 1.0 where a response's answer equals the reference's, else 0.0.

Algebra on a model's text may never end (`9^{9^{9^{9}}}`), and neither a thread nor a signal can
stop it. So a separate process compares answers; it is killed and started again when one takes too
long.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Any

from ..wire.context import BadArguments, OperationError
from ..wire.orphan import die_with_parent
from .math_answers import CONVENTIONS, answer_of, equal, reference_of

START_SECONDS = 120.0


def prepare() -> None:
    """Starts the process, which imports math-verify.

    Raises `BadArguments` where the package is not there.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise BadArguments(
            "math-verify: the worker's Python has no package math-verify: pip install math-verify"
        )
    _verifier.start()


def judge(
    texts: list[str], references: list[Any], conventions: list[str], seconds: float
) -> list[float | None]:
    """Returns 1.0 or 0.0 for each text, and None where the reference has no answer.

    A comparison longer than `seconds` is 0.0.
    """
    unknown = [convention for convention in conventions if convention not in CONVENTIONS]
    if unknown:
        raise BadArguments(f"math-verify: no conventions are named {', '.join(unknown)}")
    results: list[float | None] = []
    for text, reference in zip(texts, references, strict=True):
        if isinstance(reference, bool) or not isinstance(reference, str | int | float):
            raise BadArguments(
                f"math-verify: the reference {str(reference)[:80]!r} is neither text nor a number"
            )
        expected = reference_of(str(reference), conventions)
        answer = answer_of(text, conventions)
        # A response without an answer is wrong; a reference without one gives no reward.
        same = _verifier.compare(expected, answer or "", seconds)
        results.append(None if same is None else float(same))
    return results


class Verifier:
    """The process that compares."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Connection | None = None

    def start(self) -> Connection:
        if self._connection is not None and self._process.is_alive():
            return self._connection
        self.end()
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, os.getpid()), daemon=True)
        self._process.start()
        other.close()
        try:
            if self._connection.poll(START_SECONDS):
                self._connection.recv()
                return self._connection
            how = f"did not start within {START_SECONDS:.0f} s"
        except (EOFError, OSError):
            how = "ended before it had started; the worker's log says why"
        self.end()
        raise OperationError("function_error", f"math-verify: its process {how}")

    def compare(self, reference: str, answer: str, seconds: float) -> bool | None:
        connection = self.start()
        try:
            connection.send((reference, answer))
            if connection.poll(seconds):
                return connection.recv()
        except (EOFError, OSError):  # it died, of memory for instance
            pass
        self.end()
        return False

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


_verifier = Verifier()


def serve(connection: Connection, parent: int) -> None:
    """Compares what comes until the other side is gone."""
    die_with_parent(parent)
    logging.getLogger("math_verify").setLevel(
        logging.ERROR
    )  # it warns that its own time limit is off
    import math_verify  # noqa: F401  (slow: before the first comparison, not within its seconds)

    try:
        connection.send("ready")
        while True:
            reference, answer = connection.recv()
            connection.send(equal(reference, answer))
    except (EOFError, OSError, KeyboardInterrupt):
        pass
