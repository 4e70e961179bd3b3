"""A server as a child of this process, which ends when this process does, however that ends."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

#: For `sh -c`, with a folder and the server's command: a shell stays in the group and ends it, the
#: server's own children too, when the pipe ends. Nobody but this process holds its other end. They
#: are asked before they are killed, so that they give back the memory that they share.
GUARD = """
exec 3<&0 </dev/null
(trap '' HUP INT TERM; read -r line <&3; rm -rf "$1"; kill 0; sleep 3; kill -9 0) &
shift
exec "$@" 3<&-
"""
#: Of the controller's: the file that it keeps this worker's output in.
WORKER_LOG = "GENAC_WORKER_LOG"
#: Seconds that a server has to end by itself when it is asked to.
GRACE = 10.0
#: Seconds until one is gone whose requests fail: vLLM's front ends some time after its engine.
LAST = 5.0
#: What an error shows of a log, and bytes at its end in which the cause is looked for.
LINES, BYTES = 8, 65536
#: The last line of a traceback, with what vLLM's logger writes before it.
ERROR = re.compile(r"^(?:\(.*\] )?((?:\w+\.)*\w*(?:Error|Exception): .+)")


class Log:
    """The file that a server writes to. `path` None: a temporary one, which is removed by `remove`.

    Servers that are started one after the other share a file; this is the part since now.
    """

    def __init__(self, path: str | None) -> None:
        self._is_temporary = path is None
        if path is None:
            handle, path = tempfile.mkstemp(prefix="genac-vllm-", suffix=".log")
            os.close(handle)
        self.path = path
        self._start = os.path.getsize(path) if os.path.exists(path) else 0

    def words(self) -> str:
        """Returns its path and last lines, and the first error before them: where one process of
        several fails, the others fail after it.
        """
        lines = [line.rstrip() for line in self._last_lines() if line.strip()]
        if not lines:
            return f"its log, {self.path}, is empty"
        end = "\n".join(lines[-LINES:])
        errors = filter(None, map(ERROR.match, lines))
        first = next((found[1] for found in errors if found[1] not in end), None)
        cause = "" if first is None else f"it says {first!r}; "
        return f"{cause}its log, {self.path}, ends:\n{end}"

    def _last_lines(self) -> list[str]:
        try:
            with open(self.path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._start, size - BYTES))
                return file.read().decode(errors="replace").splitlines()
        except OSError:
            return []

    def remove(self) -> None:
        if self._is_temporary:
            Path(self.path).unlink(missing_ok=True)


class Process:
    """Runs `command` in a session of its own. `folder` is removed with it."""

    def __init__(
        self, command: list[str], environment: dict[str, str], folder: str, log: Log
    ) -> None:
        self._folder, self._log = folder, log
        with open(log.path, "ab") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", GUARD, "sh", folder, *command],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def last_words(self, seconds: float = LAST) -> str:
        """Returns how it ended, if it does within `seconds`, and the end of its log."""
        try:
            how = _ended(self._process.wait(seconds))
        except subprocess.TimeoutExpired:
            how = "still runs"
        return f"the server {how}; {self._log.words()}"

    def close(self, keep_log: bool = False) -> None:
        """Ends it and all that it started, and removes its folder."""
        if not self.has_ended:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        # The guard is in the group as long as its pipe is open, so the number is still the group's.
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            pipe.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        if not keep_log:
            self._log.remove()


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"was killed by {signal.Signals(-code).name}"


def python_of(named: str | None) -> str | None:
    """Returns the path of a Python, None: of this process's; None where there is no such file."""
    return sys.executable if named is None else shutil.which(os.path.expanduser(named))


def log_path(name: str) -> str | None:
    """Returns the file of the log of a model's server, next to the worker's own; None: the worker
    was started by hand.
    """
    own = os.environ.get(WORKER_LOG)
    if not own:
        return None
    return f"{own.removesuffix('.log')}.{re.sub(r'[^A-Za-z0-9._-]', '-', name)}.vllm.log"
