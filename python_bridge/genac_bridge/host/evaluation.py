"""What critics are worth, from Python: `evaluate({...})` runs `genac evaluate` and reads its
result.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .critic import CriticError, command
from .node import environment


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def evaluate(
    options: Mapping[str, Any],
    *,
    trust_code: bool = False,
    log: Callable[[str], object] = _to_stderr,
) -> dict[str, Any]:
    """The result of an evaluation, as `evaluation.json` holds it: `distributions` by the shift's
    name, and in each `critics` by name with `figures`, `against`, `cost`.

    `options`: those of docs/evaluate.md, plain JSON. Paths of own files are relative to the
    working directory. Of a TRL checkpoint: `actor={"model": CHECKPOINT}` and
    `critics={"mine": {"from": CHECKPOINT + "/genac"}}`. `trust_code` allows what another user's
    run names. `log` is called with each line of progress. Raises `CriticError` with what `genac
    evaluate` says is wrong.
    """
    folder = Path(options.get("folder", "evaluations/evaluation")).expanduser()
    arguments = [*command(), "evaluate", "-", "--folder", str(folder)]
    with subprocess.Popen(
        [*arguments, *(["--trust-code"] if trust_code else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # Where it ended before it read all, it says why.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(dict(options)))  # JSON is YAML
        said = []
        for line in process.stderr:
            said.append(line.rstrip())
            log(said[-1])
    if process.returncode != 0:
        raise CriticError("\n".join(said[-20:]) or "genac evaluate failed")
    result: dict[str, Any] = json.loads((folder / "evaluation.json").read_text("utf-8"))
    return result
