"""Where stage 1's traces come from.

A file, the task's own oracle, or a model behind an API that reads the actor's responses.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from .batch import to_wire
from .host_critic import HostCritic
from .processes import hidden, on_main
from .responses import responses


def trace_source(critic: HostCritic, traces: Any, begun: bool) -> str:
    """Returns the traces for `imitate`: a file, or `oracle`. `begun`: a checkpoint within stage 1
    was restored.

    Raises `ValueError`, `ControllerError`.
    """
    if traces == "oracle":
        return "oracle"
    if isinstance(traces, str | os.PathLike):
        path = os.path.abspath(os.path.expanduser(traces))
        if not os.path.isfile(path):
            raise ValueError(
                f"traces: there is no file {path!r}; name a JSONL file of an oracle's traces"
            )
        return path
    if isinstance(traces, dict) and set(traces) == {"api"} and isinstance(traces["api"], dict):
        return gathered(critic, traces["api"], begun)
    raise ValueError(
        f"traces is {traces!r}; it can be the path of a JSONL file, 'oracle' (that of the task in "
        f"`{critic.advice.config_file}`), or {{'api': {{'model': ..., ...}}}} with the options "
        "that docs/oracles.md lists"
    )


def gathered(critic: HostCritic, api: dict[str, Any], begun: bool) -> str:
    """Returns the file of the oracle's answers about the actor's responses to the training set.

    `begun`: one that is there is taken, as a checkpoint has restored what comes of the sampling:
    random draws, success rate, range of rewards. Else the actor is sampled again; answers that are
    kept cost nothing.
    """
    host = critic.host
    folder = str(Path(host.output_dir, "genac-oracle").resolve())
    asked = {"api": api, "folder": folder, "resume": begun}
    opened = on_main(host, lambda: critic.ask("open_oracle", asked)[0])
    if opened["traces"] is not None:
        return str(opened["traces"])
    batch = responses(host, opened["count"])

    def work() -> dict[str, Any]:
        arguments, tensors, _ = to_wire(batch.rows, batch.rewards, batch.group_size)
        with tqdm(desc="oracle answers", disable=hidden(host)) as bar:

            def progress(data: dict[str, Any]) -> None:
                bar.total, bar.n = data["total"], data["done"]
                cost = data["metrics"].get("oracle/cost")
                bar.set_postfix({} if cost is None else {"dollars": f"{cost:.4f}"})

            return critic.ask("ask_oracle", arguments, tensors, on_progress=progress)[0]

    answer = on_main(host, work)
    host.log(answer["metrics"])
    return str(answer["traces"])
