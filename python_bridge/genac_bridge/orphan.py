"""A worker must not outlive its controller: three ways to notice, of which the third (silence) is the link's."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None) -> None:
    """On Linux, the kernel kills this process when `parent` dies, however stuck the interpreter is.

    `parent` is the process id that the controller says it has: when it died before this call, we were handed to
    another parent already, and exit at once. None (started by hand): nothing is done.
    """
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def watch_stdin(ended: Callable[[], None]) -> None:
    """Calls `ended` from another thread when stdin ends, which it does when the process that holds its other end dies."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        ended()

    threading.Thread(target=watch, name="stdin", daemon=True).start()
