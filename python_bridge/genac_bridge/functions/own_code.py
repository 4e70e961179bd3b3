"""Running code that others wrote: what it raises is told by its name, and no signal of its own
stays behind.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..wire.context import OperationError

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
                signal.signal(number, signal.SIG_IGN)  # drops a pending one
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
    except OperationError:  # raised by the project's own functions, with a sentence of their own
        raise
    except BaseException as error:
        signals.restore()  # an alarm may have kept the first from its work
        if signals.interrupted and isinstance(error, KeyboardInterrupt):
            raise
        raise OperationError(
            "function_error", f"{words} {type(error).__name__}: {error}\n{traceback.format_exc()}"
        ) from error


def run_own(name: str, function: Callable[..., Any], keywords: dict[str, Any]) -> Any:
    """Returns what the function `name` answers, awaited where it is a coroutine; see `guarded`."""

    def work() -> Any:
        answer = function(**keywords)
        return awaited(answer) if inspect.isawaitable(answer) else answer

    return guarded(name.rpartition(":")[0], f"{name} raised", work)


def awaited(answer: Awaitable[Any]) -> Any:
    """Returns the awaited answer, from an event loop of its own, ended as `asyncio.run` ends it.

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
