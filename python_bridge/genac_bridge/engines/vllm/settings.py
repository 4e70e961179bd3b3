"""What vLLM is started with: its own options as the user gives them, and those that are GenAC's."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...models import memory
from ...models.model import LoadedModel
from ...wire.context import BadArguments
from . import sending

#: vLLM reads these when it is imported, or when it starts. Whoever sets them wins.
ENVIRONMENT = {
    # It would bind the trainer's threads, too.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
#: Bytes of keys and values on a CPU, where vLLM would take most of the machine's memory.
CPU_CACHE = 2**30
#: Mean difference of log-probabilities, in nats per token, that rounding explains.
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 0.2}
#: The release that was tried.
VERSIONS = ">=0.32,<0.33"

TRANSFERS: dict[str, Callable[[str | None], sending.Transfer]] = {
    "memory": lambda _: sending.Memory(),
    "files": sending.Files,
    "ipc": lambda _: sending.CudaIpc(),
}


@dataclass(frozen=True)
class Settings:
    """What is GenAC's own of the options, and the rest."""

    transfer: sending.Transfer
    max_logprob_gap: float
    """Nats per token; see `probe.py`."""
    url: str | None
    """Of a server; None: vLLM is in this process."""
    options: dict[str, Any]
    """Arguments of vLLM's `EngineArgs`."""


def settings_of(model: LoadedModel, given: dict[str, Any]) -> Settings:
    """Returns what `engine_options` say for a model. Raises `BadArguments`."""
    options = dict(given)
    url, folder = options.pop("url", None), options.pop("folder", None)
    ranks = options.get("tensor_parallel_size", 1) * options.get("pipeline_parallel_size", 1)
    #: vLLM's workers are in this process.
    here = url is None and ranks == 1
    name = options.pop("transfer", None) or ("memory" if here else "files")
    gap = options.pop("max_logprob_gap", None)
    if name not in TRANSFERS:
        raise refused(f"transfer is {name!r}; there are {', '.join(TRANSFERS)}")
    if url is not None and set(options) - {"dtype"}:
        raise refused(
            f"{', '.join(options)} is for the server at {url}, which was started with its own"
        )
    if folder is not None and name != "files":
        raise refused(f"folder is for the transfer files, and this is {name}")
    if name == "memory" and not here:
        raise refused(
            "transfer memory needs vLLM's workers in this process, and those of a server, or more "
            "than one, are processes of their own; use files or ipc"
        )
    if name == "files" and not here and url is None and not _is_installed():
        raise refused(
            "transfer files reaches vLLM's worker processes only where genac_bridge is installed: "
            "pip install it into the worker's Python"
        )
    if name == "ipc" and here:
        raise refused(
            "transfer ipc needs vLLM's workers in processes of their own, and one alone is in this "
            "process; use memory"
        )
    if name == "ipc" and model.device.type != "cuda":
        raise refused("transfer ipc is CUDA's; use memory or files")
    served = options.get("dtype", "auto")
    if served == "auto":
        served = options["dtype"] = str(model.dtype).removeprefix("torch.")
    if model.device.type == "cpu":
        # Where vLLM reads a prompt in parts, it takes back the draws that it made meanwhile, which
        # a CPU's random numbers don't allow.
        options.setdefault("enable_chunked_prefill", False)
    coarse = model.dtype if served == "float32" else torch.bfloat16
    return Settings(
        transfer=TRANSFERS[name](folder),
        max_logprob_gap=LIMITS[coarse] if gap is None else float(gap),
        url=url,
        options=_with_memory(model, options),
    )


def _is_installed() -> bool:
    """Returns whether vLLM's processes find `plugin.py` by themselves."""
    found = importlib.metadata.entry_points(group="vllm.general_plugins")
    return any(point.value.startswith("genac_bridge.") for point in found)


def _with_memory(model: LoadedModel, options: dict[str, Any]) -> dict[str, Any]:
    """Adds how much memory vLLM takes, where nothing says it."""
    if {"gpu_memory_utilization", "kv_cache_memory_bytes"} & set(options):
        return options
    if model.device.type == "cuda":
        return {**options, "gpu_memory_utilization": memory.VLLM_PART * memory.share(model)}
    if "VLLM_CPU_KVCACHE_SPACE" in os.environ:
        return options
    return {**options, "kv_cache_memory_bytes": CPU_CACHE}


def import_vllm() -> Any:
    """Returns the module `vllm`. Raises `BadArguments` where it can't be imported."""
    # In this process: its engine is stepped by hand, and ends with the worker.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise BadArguments(
            "load_model: the engine 'vllm' needs vLLM in the worker's Python, which can't import "
            f"it ({error}): install vllm{VERSIONS} for CUDA, or make an environment for CPUs with "
            "python_bridge/vllm-environment.sh, and name its Python in GENAC_PYTHON "
            "(docs/vllm.md)"
        ) from error


def refuse_unknown(options: dict[str, Any], kind: Any) -> None:
    """Raises `BadArguments` for options that vLLM's `EngineArgs`, `kind`, does not have."""
    known = [field.name for field in dataclasses.fields(kind)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise refused(
                f"vLLM has no option {name!r}" + (f"; do you mean {near[0]!r}?" if near else "")
            )


def refused(words: str) -> BadArguments:
    return BadArguments(f"load_model: engine 'vllm': {words}")
