"""What vLLM is started with: its own options as the user gives them, and those that are GenAC's."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...models import memory
from ...models.model import LoadedModel
from ...wire.context import BadArguments
from . import sending
from .nccl import Nccl
from .serve import unknown_option

#: vLLM reads these when it is imported, or when it starts. Whoever sets them wins.
ENVIRONMENT = {
    # It would bind the trainer's threads, too.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
#: What vLLM in this process reads otherwise than its servers.
WITHIN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
#: Seconds for a server to come up: it may compile for minutes.
START_TIMEOUT = 900.0
#: Bytes of keys and values on a CPU, where vLLM would take most of the machine's memory.
CPU_CACHE = 2**30
#: Mean difference of log-probabilities, in nats per token, that rounding explains.
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 0.2}
#: The release that was tried.
VERSIONS = ">=0.32,<0.33"

#: By the model's device and the option `folder`.
TRANSFERS: dict[str, Callable[[torch.device, str | None], sending.Transfer]] = {
    "memory": lambda *_: sending.Memory(),
    "files": lambda _, folder: sending.Files(folder),
    "ipc": lambda *_: sending.CudaIpc(),
    "nccl": lambda device, _: Nccl(device),
}


@dataclass(frozen=True)
class Started:
    """Of a server that the worker starts."""

    python: str | None
    """None: the worker's own."""
    timeout: float
    """Seconds until it must be up."""


@dataclass(frozen=True)
class Settings:
    """What is GenAC's own of the options, and the rest."""

    transfer: sending.Transfer
    max_logprob_gap: float
    """Nats per token; see `probe.py`."""
    url: str | None
    """Of a server that somebody else started."""
    started: Started | None
    """A server that the worker starts; without either, vLLM is in this process."""
    ranks: int
    """vLLM's workers, each with a GPU of its own."""
    options: dict[str, Any]
    """Arguments of vLLM's `EngineArgs`."""


def settings_of(model: LoadedModel, given: dict[str, Any]) -> Settings:
    """Returns what `engine_options` say for a model. Raises `BadArguments`."""
    options = dict(given)
    url, folder = options.pop("url", None), options.pop("folder", None)
    started = _take_started(options, url)
    ranks = options.get("tensor_parallel_size", 1) * options.get("pipeline_parallel_size", 1)
    #: vLLM's workers are in this process.
    here = url is None and started is None and ranks == 1
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
    _refuse_transfer(name, model, here=here, within=url is None and started is None)
    served = options.get("dtype", "auto")
    if served == "auto":
        served = options["dtype"] = str(model.dtype).removeprefix("torch.")
    if model.device.type == "cpu":
        # Where vLLM reads a prompt in parts, it takes back the draws that it made meanwhile, which
        # a CPU's random numbers don't allow.
        options.setdefault("enable_chunked_prefill", False)
    coarse = model.dtype if served == "float32" else torch.bfloat16
    return Settings(
        transfer=TRANSFERS[name](model.device, folder),
        max_logprob_gap=LIMITS[coarse] if gap is None else float(gap),
        url=url,
        started=started,
        ranks=ranks,
        # Nobody else plans with the GPUs of a server that NCCL reaches.
        options=options if name == "nccl" else _with_memory(model, options),
    )


def _refuse_transfer(name: str, model: LoadedModel, *, here: bool, within: bool) -> None:
    """Raises `BadArguments` for one that does not reach vLLM. `within`: there is no server; `here`:
    nor has vLLM a process of its own.
    """
    if name == "memory" and not here:
        raise refused(
            "transfer memory needs vLLM's workers in this process, and those of a server, or more "
            "than one, are processes of their own; use files or ipc"
        )
    if name == "files" and within and not here and not _is_installed():
        raise refused(
            "transfer files reaches vLLM's worker processes only where genac_bridge is installed: "
            "pip install it into the worker's Python"
        )
    if name == "ipc" and here:
        raise refused(
            "transfer ipc needs vLLM's workers in processes of their own, and one alone is in this "
            "process; use memory"
        )
    if name == "nccl" and within:
        raise refused(
            "transfer nccl needs a server on other GPUs (server: true, or url), and vLLM is in the "
            f"worker's process, on the model's; use {'memory' if here else 'files or ipc'}"
        )
    if name in ("ipc", "nccl") and model.device.type != "cuda":
        raise refused(f"transfer {name} is CUDA's; use memory or files")
    if name in ("ipc", "nccl") and not within and importlib.util.find_spec("vllm") is None:
        raise refused(
            f"transfer {name} needs vLLM in the worker's Python too, for it is vLLM's own code "
            f"that sends: install vllm{VERSIONS}, or use files"
        )


def _take_started(options: dict[str, Any], url: str | None) -> Started | None:
    """Returns what `options` say of a server that the worker starts, and takes it out of them."""
    server = options.pop("server", False)
    of_server = {name: options.pop(name, None) for name in ("python", "start_timeout")}
    if not isinstance(server, bool):
        raise refused(f"server is {server!r}; it must be true or false")
    if server and url is not None:
        raise refused(
            f"server: true starts a server, and url names one that is there, {url}; give one of "
            "them"
        )
    if not server:
        for name, value in of_server.items():
            if value is not None:
                raise refused(f"{name} is for a server that the worker starts (server: true)")
        return None
    python, timeout = of_server["python"], of_server["start_timeout"]
    if python is not None and not isinstance(python, str):
        raise refused(f"python is {python!r}; it must be the path of a Python")
    timeout = START_TIMEOUT if timeout is None else timeout
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
        raise refused(f"start_timeout is {timeout!r}; it must be a number of seconds above 0")
    return Started(python, float(timeout))


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
    os.environ.update(WITHIN_PROCESS)
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
    words = unknown_option(options, kind)
    if words is not None:
        raise refused(words)


def refused(words: str) -> BadArguments:
    return BadArguments(f"load_model: engine 'vllm': {words}")
