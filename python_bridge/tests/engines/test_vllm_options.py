"""What the options of a vLLM server that the worker starts become, and what an error shows of its
log.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm_models import make_folder

from conftest import Client
from genac_bridge.engines.vllm import sending, serve, settings, started
from genac_bridge.engines.vllm.process import Log
from genac_bridge.engines.vllm.settings import settings_of
from genac_bridge.models import memory
from genac_bridge.models.model import LoadedModel
from genac_bridge.wire.context import BadArguments


@pytest.fixture
def model(client: Client, tmp_path: Path) -> LoadedModel:
    client.load(make_folder(tmp_path))
    return client.operations.models["m"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"server": "yes"}, "server is 'yes'; it must be true or false"),
        ({"server": True, "url": "http://h"}, "url names one that is there, http://h; give one"),
        ({"python": "python3"}, "python is for a server that the worker starts"),
        ({"url": "http://h", "start_timeout": 5}, "start_timeout is for a server that the worker"),
        ({"server": True, "python": 3}, "python is 3; it must be the path of a Python"),
        ({"server": True, "start_timeout": 0}, "start_timeout is 0; it must be a number of second"),
        ({"server": True, "start_timeout": True}, "start_timeout is True; it must be a number"),
        ({"server": True, "transfer": "memory"}, "use files or ipc"),
        ({"server": True, "transfer": "ipc"}, "transfer ipc is CUDA's"),
    ],
)
def test_options_that_can_t_work_are_refused(
    model: LoadedModel, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadArguments, match=said):
        settings_of(model, options)


def test_options_of_a_server_are_those_in_process(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its Python need not have GenAC.
    monkeypatch.setattr(settings, "_is_installed", lambda: False)
    found = settings_of(model, {"server": True, "tensor_parallel_size": 2, "start_timeout": 7})
    assert found.started == settings.Started(python=None, timeout=7)
    assert isinstance(found.transfer, sending.Files)
    assert found.options == {**settings_of(model, {}).options, "tensor_parallel_size": 2}
    assert settings_of(model, {"server": True}).started == settings.Started(None, 900)


def test_its_memory_is_planned_as_in_process(model: LoadedModel) -> None:
    assert model.loading is not None
    for options, part in [({}, 0.45 * 0.5), ({"gpu_memory_utilization": 0.3}, 0.3)]:
        for more, expected in [
            *(({}, part), ({"server": True}, part), ({"url": "http://h"}, 0)),
            ({"server": True, "transfer": "nccl"}, 0),
        ]:
            model.loading.engine_options = {**options, **more}
            assert memory.vllm_bytes(model, 1000) == int(expected * 1000)


def test_a_server_that_nccl_reaches_takes_other_gpus(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    on_gpu = dataclasses.replace(model, device=torch.device("cuda", 1))
    options = {"server": True, "tensor_parallel_size": 2}
    for transfer, gpus, part in [("files", "1,0", 0.225), ("nccl", "0,2", None)]:
        found = settings_of(on_gpu, {**options, "transfer": transfer})
        assert started.environment_of(on_gpu, found)["CUDA_VISIBLE_DEVICES"] == gpus
        # Without a word of GenAC's, vLLM takes its own part.
        assert found.options.get("gpu_memory_utilization") == part
    backend = started.own_options(on_gpu, found, "socket")["weight_transfer_config"]
    assert backend == {"backend": "nccl"}
    with pytest.raises(BadArguments, match="needs 3 GPUs for model 'm' besides the model's own"):
        started.environment_of(on_gpu, dataclasses.replace(found, ranks=3))


def test_flags_are_options_as_a_command_line_has_them() -> None:
    assert serve.flags(
        {
            **{"max_model_len": -1, "enforce_eager": True, "enable_prefix_caching": False},
            **{"dtype": "bfloat16", "gpu_memory_utilization": 0.25, "kv_cache_memory_bytes": None},
            **{"compilation_config": {"mode": 0}, "cudagraph_capture_sizes": [1, 2]},
        }
    ) == [
        *("--max-model-len=-1", "--enforce-eager", "--no-enable-prefix-caching"),
        *("--dtype=bfloat16", "--gpu-memory-utilization=0.25"),
        *('--compilation-config={"mode": 0}', "--cudagraph-capture-sizes", "1", "2"),
    ]


@pytest.mark.parametrize(
    ("seen", "there", "own", "count", "given", "others"),
    [
        (None, 4, 2, 1, "2", "0"),
        (None, 4, 2, 3, "2,0,1", "0,1,3"),
        ("5, 7,GPU-a", 3, 1, 1, "7", "5"),
        ("5,7,GPU-a", 3, 1, 2, "7,5", "5,GPU-a"),
        ("5,7,GPU-a", 3, None, 2, "5,7", "7,GPU-a"),
    ],
)
def test_a_server_sees_the_model_s_gpu_first(
    monkeypatch: pytest.MonkeyPatch,
    model: LoadedModel,
    seen: str | None,
    there: int,
    own: int | None,
    count: int,
    given: str,
    others: str,
) -> None:
    if seen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    on_gpu = dataclasses.replace(model, device=torch.device("cuda", own))
    assert started.gpus(on_gpu, count) == given
    assert started.gpus(on_gpu, count, own=False) == others
    with pytest.raises(BadArguments, match=rf"vLLM needs 9 GPUs for model 'm', .* sees {there}"):
        started.gpus(on_gpu, 9)
    said = (
        rf"needs {there} GPUs for model 'm' besides the model's own \(transfer nccl\), .* {there}: "
    )
    with pytest.raises(BadArguments, match=said):
        started.gpus(on_gpu, there, own=False)


def test_an_error_shows_what_failed_first_and_the_end_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("KeyError: of the server before\n")
    log = Log(str(path))
    assert log.words() == f"its log, {path}, is empty"
    lines = [
        "(EngineCore pid=7) INFO 11-27 06:53:50 [core.py:9] it can cause errors like OSError: no",
        "(EngineCore pid=7) ERROR 11-27 06:53:50 [core.py:15] ValueError: no room",
        "ValueError: no room",
        *(f"line {number}" for number in range(9)),
        "RuntimeError: see above",
    ]
    with path.open("a") as file:
        file.write("\n\n".join(lines))
    end = "\n".join(lines[-8:])
    assert log.words() == f"it says 'ValueError: no room'; its log, {path}, ends:\n{end}"
    log.remove()
    assert path.exists()
