"""`call`: a Python function by name, plain JSON in and out; and a worker that serves nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import math
import os
import platform
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from . import __version__
from . import arguments as args
from .context import BadArguments, BadState, Context, OperationError, Tensors

T = TypeVar("T")

#: The handlers of SIGALRM that modules left, at their import for instance; each has its own again
#: while its functions run.
_alarm_handlers: dict[str, Any] = {}


class _Signals:
    """The signals around code that others wrote; Python has them in its main thread only."""

    KEPT = ("SIGALRM", "SIGVTALRM", "SIGINT", "SIGTERM")

    def __init__(self, module: str) -> None:
        #: Whether a real SIGINT came, as opposed to a KeyboardInterrupt that the code made.
        self.interrupted = False
        self._module = module
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for name in self.KEPT:
            number = getattr(signal, name, None)
            handler = None if number is None else signal.getsignal(number)
            if number is not None and handler is not None:  # None: not set by Python
                self._before[number] = handler
        own = _alarm_handlers.get(module)
        if own is not None:
            signal.signal(signal.SIGALRM, own)
        interrupt = self._before.get(signal.SIGINT)
        if callable(interrupt):
            on_interrupt = interrupt

            def note(number: int, frame: Any) -> Any:
                self.interrupted = True
                return on_interrupt(number, frame)

            signal.signal(signal.SIGINT, note)

    def restore(self) -> None:
        """Disarms what the code armed and puts the handlers back. May be called twice."""
        alarm = getattr(signal, "SIGALRM", None)
        if alarm in self._before:
            left = signal.getsignal(alarm)
            if left not in (self._before[alarm], signal.SIG_IGN, None):
                _alarm_handlers[self._module] = left
        for _ in range(10):
            try:
                self._restore()
                return
            except BaseException:  # an alarm that goes off in this very moment, with its handler
                continue

    def _restore(self) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)  # that of `signal.alarm` too
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        for number, handler in self._before.items():
            if number != signal.SIGINT and number != signal.SIGTERM:
                signal.signal(number, signal.SIG_IGN)  # drops one that is on its way
            signal.signal(number, handler)


def guarded(module: str, words: str, work: Callable[[], T]) -> T:
    """Runs code that others wrote, in `module`.

    Whatever it raises, `SystemExit` and `CancelledError` too, becomes `function_error`: `words`,
    the exception and its traceback. Only an `OperationError` and a real Ctrl-C pass. No alarm stays
    armed.
    """
    signals = _Signals(module)
    try:
        try:
            return work()
        finally:
            signals.restore()
    except OperationError:  # the project's own functions say themselves what is wrong
        raise
    except BaseException as error:
        signals.restore()  # an alarm may have kept the first from its work
        if signals.interrupted and isinstance(error, KeyboardInterrupt):
            raise
        raise OperationError(
            "function_error", f"{words} {type(error).__name__}: {error}\n{traceback.format_exc()}"
        ) from error


def run_own(name: str, function: Callable[..., Any], keywords: dict[str, Any]) -> Any:
    """What the function `name` answers, awaited where it is a coroutine; see `guarded`."""

    def work() -> Any:
        answer = function(**keywords)
        return awaited(answer) if inspect.isawaitable(answer) else answer

    return guarded(name.rpartition(":")[0], f"{name} raised", work)


def awaited(answer: Awaitable[Any]) -> Any:
    """What it gives, in an event loop of its own, ended as `asyncio.run` ends it.

    Unlike there the thread keeps the loop it has: `asyncio.get_event_loop()` works after it.
    """

    async def wait() -> Any:
        return await answer

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(wait())
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


def load_file(path: str) -> Any:
    """The module that a file holds, loaded once; its folder is on the import path, so that it can import its neighbours."""
    path = os.path.abspath(os.path.expanduser(path))
    name = f"genac_file_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise BadArguments(f"call: there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(path))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def find(name: str) -> Callable[..., Any]:
    """The function that `package.module:function` or `path/to/file.py:function` names (`function` may be dotted: a static method)."""
    module_name, colon, path = name.rpartition(":")
    if not colon or not module_name or not path:
        raise BadArguments(f"call: {name!r} is not of the form 'package.module:function' or 'file.py:function'")

    def load() -> Any:
        if module_name.endswith(".py"):
            return load_file(module_name)
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name
            if missing is not None and f"{module_name}.".startswith(f"{missing}."):
                raise BadArguments(
                    f"call: there is no module {missing!r}; is it on PYTHONPATH of the worker?"
                ) from error
            raise

    def load_whole() -> Any:
        try:
            return load()
        except SystemExit as error:
            hint = 'sys.exit() and argparse belong under `if __name__ == "__main__":`'
            raise SystemExit(f"{error} ({hint})") from error

    target = guarded(module_name, f"importing {module_name} failed:", load_whole)
    for part in path.split("."):
        if not hasattr(target, part):
            raise BadArguments(f"call: {module_name} has no {path!r}")
        target = getattr(target, part)
    if not callable(target):
        raise BadArguments(f"call: {name} is a {type(target).__name__}, not a function")
    return target


def plain_json(value: Any, where: str = "answer") -> Any:
    """`value` if it is plain JSON, tuples as lists; raises `ValueError` that names the place and the type of what is not."""
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if type(value) is int:
        if not -(2**53) < value < 2**53:
            raise ValueError(f"{where} is the integer {value}, too large to survive as a JSON number (2^53)")
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which JSON has no word for")
        return value
    if isinstance(value, list | tuple):
        return [plain_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r} of type {type(key).__name__}; keys must be strings")
        return {key: plain_json(item, f"{where}[{key!r}]") for key, item in value.items()}
    kind = type(value)
    raise ValueError(
        f"{where} is a {kind.__module__}.{kind.__qualname__}, not plain JSON; convert it (float(x), x.tolist())"
    )


def call(name: str, keywords: dict[str, Any]) -> Any:
    """Calls the function; coroutines are awaited. What it raises becomes `function_error` with its traceback."""
    answer = run_own(name, find(name), keywords)
    try:
        return plain_json(answer)
    except ValueError as error:
        raise OperationError("function_error", f"{name} did not answer with plain JSON: {error}") from None


class FunctionOperations:
    """What a worker without models serves: `call` alone. It imports neither PyTorch nor Transformers, and so starts in a moment."""

    def ready(self) -> dict[str, Any]:
        return {"versions": {"genac_bridge": __version__, "python": platform.python_version()}, "devices": []}

    def run(
        self, operation: str, arguments: dict[str, Any], tensors: Tensors, context: Context
    ) -> tuple[dict[str, Any], Tensors]:
        if operation != "call":
            raise BadState(f"this worker serves functions only, not {operation}")
        parsed = args.parse("call", args.Call, arguments)
        return {"value": call(parsed.function, parsed.keywords)}, {}
