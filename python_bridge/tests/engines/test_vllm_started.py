"""A vLLM server that the worker starts, with a stand-in for vLLM: what it is given, how it comes
up, and that it never outlives its worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_ins
from stand_ins import Starts, loading
from vllm_models import close_all, sampled, train

from conftest import Client, prompts
from genac_bridge.wire.context import NullContext, OperationError

starts = stand_ins.starts
TENSORS = prompts(np.random.default_rng(5), [3, 9])


@pytest.fixture
def client() -> Iterator[Client]:
    found = Client()
    yield found
    close_all(found)


def test_it_is_given_what_it_needs(client: Client, folder: str, starts: Starts) -> None:
    given = {
        **{"max_model_len": 96, "enforce_eager": True, "enable_prefix_caching": False},
        **{"disable_log_stats": False, "cudagraph_capture_sizes": [1, 2]},
        **{"compilation_config": {"mode": 0}, "kv_cache_memory_bytes": None},
    }
    client.load(folder, loading=loading(**given))
    (start,) = starts
    vllm, serve, model, *flags = start["argv"]
    assert (vllm, serve) == ("vllm", "serve")
    home, mode = start["folder"]
    assert (model, mode) == (f"{home}/model", 0o700)
    # False is what `disable_log_stats` is anyhow: vLLM has no flag to say so.
    assert flags == [
        *("--max-model-len=96", "--enforce-eager", "--no-enable-prefix-caching"),
        *("--cudagraph-capture-sizes", "1", "2", '--compilation-config={"mode": 0}'),
        *("--dtype=float32", "--no-enable-chunked-prefill"),
        *(f"--uds={home}/socket", "--load-format=dummy", "--generation-config=vllm"),
        *(
            "--logprobs-mode=processed_logprobs",
            '--weight-transfer-config={"backend": "genac_files"}',
        ),
        *("--enable-scale-out", "--disable-uvicorn-access-log"),
    ]
    assert start["config"]["architectures"] == ["LlamaForCausalLM"]
    assert start["tokenizer"]
    assert ["genac_bridge_server", "genac_bridge.engines.vllm.plugin"] in start["plugins"]
    environment = start["environment"]
    assert environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert [name for name in environment if name.startswith("GENAC_")] == []
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in environment


def test_it_generates_and_follows_weights(client: Client, folder: str, starts: Starts) -> None:
    assert client.load(folder, loading=loading())["reproducible"] is False
    ids, logprobs = sampled(client, TENSORS, max_new_tokens=4)
    assert ids == [[7] * 4] * 2
    assert logprobs == pytest.approx([-0.51] * 8)
    train(client)
    client.publish()
    assert sampled(client, TENSORS, max_new_tokens=4)[1] == pytest.approx([-0.52] * 8)
    with pytest.raises(OperationError, match="and vLLM has room for 96"):
        client.sample(dict(TENSORS), max_new_tokens=90)


def test_a_slow_start_is_waited_for(
    client: Client, folder: str, starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_SLEEP", "1.5")
    began = time.monotonic()
    client.load(folder, loading=loading())
    assert time.monotonic() - began > 1.5
    assert sampled(client, TENSORS, max_new_tokens=2)[0] == [[7, 7]] * 2


def test_a_start_that_does_not_end_is_an_error(
    client: Client, folder: str, starts: Starts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STAND_IN_SLEEP", "600")
    said = (
        r"vLLM does not serve model 'm' after 2 s \(engine\.start_timeout\): the server still runs"
        rf"; its log, {tmp_path}/worker\.m\.vllm\.log, ends:\nThe stand-in starts\.$"
    )
    with pytest.raises(OperationError, match=said):
        client.load(folder, loading=loading(start_timeout=2))
    assert client.operations.models == {}
    starts.wait_until_gone()
    assert not os.path.exists(starts.last["folder"][0])


def test_a_start_that_fails_is_told_with_the_end_of_its_log(
    client: Client, folder: str, starts: Starts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "worker.m.vllm.log").write_text("KeyError: of a server before\n")
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    said = (
        r"vLLM can't serve model 'm': the server ended with code 1; its log, .*\.m\.vllm\.log, ends"
        r":\nThe stand-in starts\.\nValueError: no room for keys and values$"
    )
    with pytest.raises(OperationError, match=said) as caught:
        client.load(folder, loading=loading())
    assert caught.value.code == "bad_arguments"
    starts.wait_until_gone()
    assert not os.path.exists(starts.last["folder"][0])


class Impatient(NullContext):
    """Is cancelled once the server is there."""

    def __init__(self, starts: Starts) -> None:
        super().__init__()
        self._starts = starts

    def check(self) -> None:
        if list(self._starts):
            raise OperationError("cancelled", "enough")


def test_a_cancelled_load_waits_for_no_server(
    client: Client, folder: str, starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_SLEEP", "600")
    with pytest.raises(OperationError, match="enough"):
        client.load(folder, loading=loading(), context=Impatient(starts))
    assert client.operations.models == {}
    starts.wait_until_gone()


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (
            {"max_model_length": 9},
            {},
            r"ended with code 1; .*\nvLLM has no option 'max_model_length'; do you mean 'max_model",
        ),
        ({"port": 8000}, {}, r"\nvLLM has no option 'port'$"),
        (
            {},
            {"STAND_IN_DEVICE": "cuda"},
            r"\nthe vLLM of .*python.* is built for cuda, and the model is on cpu$",
        ),
        ({"python": "nowhere/python"}, {}, r"there is no Python at 'nowhere/python' \(engine\.pyt"),
    ],
)
def test_what_can_t_be_served_is_told(
    client: Client,
    folder: str,
    starts: Starts,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    environment: dict[str, str],
    said: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OperationError, match=said):
        client.load(folder, loading=loading(**options))
    assert list(starts) == []


def test_another_python_may_lack_vllm(
    client: Client, folder: str, starts: Starts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH=${{PYTHONPATH%%:*}} exec "{sys.executable}" -S "$@"\n'
    )
    python.chmod(0o755)
    with pytest.raises(OperationError, match=r"can't import vLLM: No module named 'vllm'$"):
        client.load(folder, loading=loading(python=str(python)))


def test_death_in_the_middle_of_a_request_is_a_dead_engine(
    client: Client, folder: str, starts: Starts
) -> None:
    client.load(folder, loading=loading())
    said = (
        r"engine 'vllm' of model 'm' is dead: it failed: ServerError: .* does not answer: .*; the "
        r"server ended with code 3; its log, .*\.m\.vllm\.log, ends:\nThe stand-in starts\.\n"
        r"ValueError: out of luck$"
    )
    for _ in range(2):
        with pytest.raises(OperationError, match=said):
            client.sample(dict(TENSORS), max_new_tokens=4, temperature=1.5)
    with pytest.raises(OperationError, match=said):
        client.publish()
    server, child = starts.last["pids"]
    starts.wait_until_left([child])
    close_all(client)
    starts.wait_until_gone()
    assert server not in starts.living()


def test_each_model_has_its_own(client: Client, folder: str, starts: Starts) -> None:
    client.load(folder, "a", loading=loading())
    client.load(folder, "b", loading=loading())
    first, second = starts
    assert first["folder"] != second["folder"]
    for name in "ab":
        assert client.sample(dict(TENSORS), model=name, max_new_tokens=3)[0]["version"] == 0
    client.load(folder, "a")
    starts.wait_until_left(second["pids"])
    assert client.sample(dict(TENSORS), model="b", max_new_tokens=3)[0]["version"] == 0


def test_a_model_that_is_loaded_again_gets_another(
    client: Client, folder: str, starts: Starts
) -> None:
    for _ in range(2):
        client.load(folder, loading=loading())
    first, second = starts
    starts.wait_until_left(second["pids"])
    assert not os.path.exists(first["folder"][0])
    close_all(client)
    starts.wait_until_gone()


def test_without_a_folder_for_logs_it_is_a_temporary_file(
    client: Client,
    folder: str,
    starts: Starts,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("GENAC_WORKER_LOG")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client.load(folder, loading=loading())
    assert len(list(tmp_path.glob("genac-vllm-*.log"))) == 1
    close_all(client)
    assert list(tmp_path.glob("genac-vllm-*")) == []
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    with pytest.raises(OperationError, match=rf"its log, {tmp_path}/genac-vllm-.*\.log, ends"):
        client.load(folder, loading=loading())
    (log,) = tmp_path.glob("genac-vllm-*")
    assert "no room for keys and values" in log.read_text()


WORKER = """
import sys, time
sys.path[:0] = sys.argv[2:]
from conftest import Client
from stand_ins import loading
client = Client()
client.load(sys.argv[1], loading=loading())
if "raise" in sys.argv: raise RuntimeError("on purpose")
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, "raise"])
def test_nothing_is_left_of_a_worker_that_dies(folder: str, starts: Starts, way: Any) -> None:
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, folder, str(here), str(here.parent), str(way)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    if way == "raise":
        process.wait()
    else:
        assert process.stdout.readline() == b"up\n"
        assert len(starts.living()) == 2
        process.send_signal(way)
        process.wait(30)
    assert process.returncode != 0
    assert len(list(starts)) == 1
    starts.wait_until_gone()
    assert not os.path.exists(starts.last["folder"][0])
