"""A vLLM server that the worker starts for one model, and ends."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time

import torch

from ...models.model import LoadedModel
from ...wire.context import Context
from . import process, serve
from .process import Log, Process
from .server import Http, Server, ServerError
from .settings import ENVIRONMENT, WITHIN_PROCESS, Settings, refused
from .weights import BaseWeights

#: Without the working directory in Python's path, which may hold files of any name.
START = "; ".join(
    [
        "import sys; sys.path[:1] = [] if sys.path[:1] == [''] else sys.path[:1]",
        "from genac_bridge.engines.vllm.serve import main; main()",
    ]
)
#: Seconds between two looks whether it is up, and for an answer to one.
LOOK, ANSWER = 0.2, 5.0
#: Bytes of the path of a socket that every system takes.
LONGEST_SOCKET = 100


class StartedServer(Server):
    """Starts a server and waits until it is up. It listens on a socket in a folder that nobody but
    this user may enter: of a port, vLLM's key guards requests for text only, not those that change
    weights.

    Raises `BadArguments` where it does not come up, with the end of its log, and what `context`
    raises.
    """

    def __init__(
        self, model: LoadedModel, settings: Settings, weights: BaseWeights, context: Context
    ) -> None:
        started = settings.started
        assert started is not None
        python = process.python_of(started.python)
        if python is None:
            raise refused(f"there is no Python at {started.python!r} (engine.python)")
        environment = environment_of(model, settings)
        folder = own_folder()
        socket = os.path.join(folder, "socket")
        path = os.pathsep.join(filter(None, [folder, environment.get("PYTHONPATH")]))
        try:
            command = [
                *(python, "-c", START, write_model(model, weights, folder), model.device.type),
                *(json.dumps(settings.options), json.dumps(own_options(model, settings, socket))),
            ]
            log = Log(process.log_path(model.name))
            self._process = Process(command, {**environment, "PYTHONPATH": path}, folder, log)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._failed = False
        client = Http("http://localhost", socket)
        try:
            self._wait(model, client, started.timeout, context)
            super().__init__(model, client)
        except BaseException:
            self._failed = True
            self.close()
            raise

    def _wait(self, model: LoadedModel, client: Http, seconds: float, context: Context) -> None:
        until = time.monotonic() + seconds
        while True:
            context.check()
            if self._process.has_ended:
                raise refused(
                    f"vLLM can't serve model {model.name!r}: {self._process.last_words()}"
                )
            try:
                client.get("health", ANSWER)
                return
            except ServerError:
                time.sleep(LOOK)
            if time.monotonic() > until:
                raise refused(
                    f"vLLM does not serve model {model.name!r} after {seconds:g} s "
                    f"(engine.start_timeout): {self._process.last_words(0)}"
                )

    def last_words(self) -> str:
        self._failed = True
        return self._process.last_words()

    def close(self) -> None:
        self._process.close(keep_log=self._failed)


def own_folder() -> str:
    """Returns a new folder for this user alone, in which a socket can be."""
    folder = tempfile.mkdtemp(prefix="genac-vllm-")
    if len(os.path.join(folder, "socket").encode()) > LONGEST_SOCKET:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="genac-vllm-", dir="/tmp")
    return folder


def write_model(model: LoadedModel, weights: BaseWeights, folder: str) -> str:
    """Writes what a server needs of a model but for its weights. Returns its folder.

    `folder` is in the path of the server's Python: it gets this package, whatever other is
    installed there, and tells vLLM of its weight transfers.
    """
    path = os.path.join(folder, "model")
    weights.config.save_pretrained(path)
    model.tokenizer.save_pretrained(path)
    package, *inner = (__package__ or "").split(".")
    here = os.path.dirname(os.path.abspath(__file__))
    for _ in inner:
        here = os.path.dirname(here)
    os.symlink(here, os.path.join(folder, package))
    plugin = f"[vllm.general_plugins]\n{package}_server = {__package__}.plugin:register\n"
    serve.write_metadata(folder, f"{package}_server", "0", {"entry_points.txt": plugin})
    return path


def own_options(model: LoadedModel, settings: Settings, socket: str) -> dict[str, object]:
    """Returns what GenAC gives every server, by vLLM's names."""
    remote = model.loading is not None and model.loading.trust_remote_code
    return {
        "uds": socket,
        "load_format": "dummy",
        "generation_config": "vllm",
        "logprobs_mode": "processed_logprobs",
        "weight_transfer_config": {"backend": settings.transfer.backend},
        "enable_scale_out": True,
        "disable_uvicorn_access_log": True,
        **({"trust_remote_code": True} if remote else {}),
    }


def environment_of(model: LoadedModel, settings: Settings) -> dict[str, str]:
    """Returns the server's environment: this process's, without what is between GenAC and it.

    Raises `BadArguments` where the worker has fewer GPUs than the server takes.
    """
    environment = {
        **{name: value for name, value in ENVIRONMENT.items() if name != "VLLM_LOGGING_LEVEL"},
        **{name: value for name, value in os.environ.items() if not name.startswith("GENAC_")},
        "VLLM_SERVER_DEV_MODE": "1",
    }
    for name in WITHIN_PROCESS:
        environment.pop(name, None)
    if settings.transfer.backend == "ipc":
        environment["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
    if model.device.type == "cuda":
        own = settings.transfer.backend != "nccl"
        environment["CUDA_VISIBLE_DEVICES"] = gpus(model, settings.ranks, own)
    return environment


def gpus(model: LoadedModel, count: int, own: bool = True) -> str:
    """Returns the GPUs that a server takes, as `CUDA_VISIBLE_DEVICES`: the model's first, unless it
    is not to have this one (`own`), for NCCL refuses two processes on a GPU.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = [str(index) for index in range(torch.cuda.device_count())]
    if given is not None:
        seen = [name.strip() for name in given.split(",")][: len(seen)]
    first = model.device.index or 0
    found = [*seen[first : first + own], *seen[:first], *seen[first + 1 :]]
    if count > len(found):
        besides = "" if own else " besides the model's own (transfer nccl)"
        raise refused(
            f"vLLM needs {count} GPUs for model {model.name!r}{besides}, and the worker sees "
            f"{len(seen)}: give it more (workers.NAME.devices)"
        )
    return ",".join(found[:count])
