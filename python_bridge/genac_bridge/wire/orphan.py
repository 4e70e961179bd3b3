"""A worker must not outlive its controller, nor must what it started: ways to notice.

One more (silence) is the link's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None) -> None:
    """On Linux, the kernel kills this process when `parent` dies, however stuck the interpreter is.

    `parent` is the process id that the controller says it has: when it died before this call, we
    were handed to another parent already, and exit at once. None (started by hand): nothing is
    done.
    """
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def kill_group_with_parent() -> None:
    """Leaves a shell in this process's group that kills the whole group when stdin ends, which it
    does when the controller is gone.

    `die_with_parent` ends only this process, at once, before it could end the processes that it
    started; and no thread of a stuck interpreter could. Nothing is done where this process does not
    lead its group (others are in it) or there is no shell.
    """
    if os.name != "posix" or os.getpgrp() != os.getpid():
        return
    # SIGTERM goes to the group when the worker is asked to end: the shell stays until the last.
    script = "trap '' TERM INT; read -r line; kill -9 0"
    with contextlib.suppress(OSError):
        subprocess.Popen(
            ["/bin/sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def watch_stdin(ended: Callable[[], None]) -> None:
    """Calls `ended` from another thread when stdin ends, which it does when the process that holds
    its other end dies.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        ended()

    threading.Thread(target=watch, name="stdin", daemon=True).start()
