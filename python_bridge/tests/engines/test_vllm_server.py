"""The engine `vllm` with a real vLLM server: what it serves, and what is told where it does not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_ins import group
from vllm_models import close_all, gap, make_folder, needs_vllm, sampled, train

from conftest import LOADING, Client, completions, prompts
from genac_bridge.wire.context import NullContext, OperationError

pytestmark = needs_vllm

TENSORS = prompts(np.random.default_rng(5), [3, 150, 9])
LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear"}


class Served:
    """A server in a process of its own, for a model that somebody else trains."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = make_folder(folder)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        # The server looks for the metadata of a package named vllm, which the CPU's is not.
        metadata = folder / "vllm-0.32.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n"
        )
        path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
                    *("--model", self.folder, "--port", str(port), "--load-format", "dummy"),
                    *("--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill"),
                    *("--kv-cache-memory-bytes", str(2**27), "--generation-config", "vllm"),
                    *("--enable-scale-out", "--logprobs-mode", "processed_logprobs"),
                    *("--weight-transfer-config", '{"backend": "genac_files"}'),
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    "VLLM_SERVER_DEV_MODE": "1",
                    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                },
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self) -> None:
        for _ in range(300):
            if self.process.poll() is not None:
                raise AssertionError(self.log.read_text()[-3000:])
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        raise AssertionError(f"not up in time: {self.log.read_text()[-3000:]}")

    def abort(self) -> int:
        """Ends what it is sampling; returns how many sequences that were."""
        request = urllib.request.Request(f"{self.url}/abort_requests", data=b"{}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(json.load(answer)["aborted"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    found = Served(folder, folder / "server.log")
    try:
        found.wait()
        yield found
    finally:
        os.killpg(found.process.pid, 9)
        found.process.wait()


def load(client: Client, served: Served, **changes: Any) -> dict[str, Any]:
    loading = {**LOADING, "engine": "vllm", "engine_options": {"url": served.url}}
    return client.load(served.folder, loading=loading, **changes)


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
def test_a_step_is_served_once_it_is_published(client: Client, served: Served, lora: Any) -> None:
    assert load(client, served, lora=lora)["reproducible"] is False
    _, out = client.sample(dict(TENSORS), max_new_tokens=12)
    assert gap(client, out, 1, 1.0) < 1e-4
    first = completions(out)
    assert sampled(client, TENSORS, max_new_tokens=12)[0] == first
    train(client)
    assert sampled(client, TENSORS, max_new_tokens=12)[0] == first
    client.publish()
    result, out = client.sample(dict(TENSORS), max_new_tokens=12, temperature=0.6)
    assert result["version"] == 1
    assert gap(client, out, 1, 0.6) < 1e-4


def test_limits_and_stops_are_as_in_process(client: Client, served: Served) -> None:
    load(client, served)
    result, out = client.sample(dict(TENSORS), max_new_tokens=20)
    free, words = completions(out), result["texts"][1].split()
    string = f"{words[4]} {words[5]}"
    context = NullContext()
    result, out = client.sample(
        dict(TENSORS), context, max_new_tokens=20, stop_strings=[string], stream=True
    )
    assert completions(out)[1] == free[1][:6]
    assert result["finish_reasons"][1] == "stop_string"
    assert sorted(number for data, _ in context.partials for number in data["indices"]) == [0, 1, 2]
    stop = free[2][3]
    result, out = client.sample(dict(TENSORS), max_new_tokens=20, stop_token_ids=[stop])
    assert completions(out)[2] == free[2][: free[2].index(stop) + 1]
    assert result["finish_reasons"][2] == "stop_token"
    tensors = {**TENSORS, "prefix_lengths": np.array([0, 5, 2], np.int32)}
    ids, _ = sampled(client, tensors, max_new_tokens=6, temperature=1.5)
    assert [len(own) for own in ids] == [ids[0].index(1) + 1 if 1 in ids[0] else 6, 1, 4]


class Impatient(NullContext):
    """Is cancelled at its second check."""

    checks = 0

    def check(self) -> None:
        self.checks += 1
        if self.checks == 2:
            raise OperationError("cancelled", "enough")


def test_a_cancelled_request_leaves_nothing_in_the_server(client: Client, served: Served) -> None:
    load(client, served)
    tensors = prompts(np.random.default_rng(6), [9] * 40, 4)
    options = {"completions_per_prompt": 4, "max_new_tokens": 240, "temperature": 2.0}
    with pytest.raises(OperationError, match="enough"):
        client.sample(tensors, Impatient(), **options)
    assert served.abort() == 0
    assert len(sampled(client, TENSORS, max_new_tokens=5)[0]) == 3


def test_weights_of_another_trainer_are_noticed(client: Client, served: Served) -> None:
    load(client, served)
    load(Client(), served, seed=1)
    with pytest.raises(OperationError, match="other weights than it was given last"):
        client.sample(dict(TENSORS))


def test_a_server_of_another_model_is_refused(
    client: Client, served: Served, tmp_path: Path
) -> None:
    loading = {**LOADING, "engine": "vllm", "engine_options": {"url": served.url}}
    folder = make_folder(tmp_path, intermediate_size=64)
    with pytest.raises(OperationError, match="does not serve the weights that are trained"):
        client.load(folder, loading=loading)
    assert client.operations.models == {}


def test_the_worker_starts_one_itself_and_ends_it(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENAC_WORKER_LOG", str(tmp_path / "worker.log"))
    options = {"server": True, "enforce_eager": True, "max_model_len": 200}
    engine_options = {**options, "kv_cache_memory_bytes": 2**27}
    loading = {**LOADING, "engine": "vllm", "engine_options": engine_options}
    client.load(make_folder(tmp_path / "model"), loading=loading)
    _, out = client.sample(dict(TENSORS), max_new_tokens=12)
    assert gap(client, out, 1, 1.0) < 1e-4
    train(client)
    client.publish()
    _, out = client.sample(dict(TENSORS), max_new_tokens=12, temperature=0.6)
    assert gap(client, out, 1, 0.6) < 1e-4
    with pytest.raises(OperationError, match="vLLM has room for 200"):
        client.sample(dict(TENSORS), max_new_tokens=60)
    result, out = client.sample(dict(TENSORS), max_new_tokens=20)
    words = result["texts"][1].split()
    string = f"{words[4]} {words[5]}"
    result, _ = client.sample(dict(TENSORS), max_new_tokens=20, stop_strings=[string])
    assert result["finish_reasons"][1] == "stop_string"
    engine: Any = client.operations.models["m"].engine
    leader = engine._backend._process.pid
    processes = group(leader)
    # The server, its guard, the engine, and what counts their shared memory.
    assert len(processes) >= 4
    os.kill(leader, 9)
    said = r"is dead: it failed: ServerError: .*; the server was killed by SIGKILL; its log, .*ends"
    with pytest.raises(OperationError, match=said):
        client.sample(dict(TENSORS))
    close_all(client)
    for _ in range(100):
        if group(leader):
            time.sleep(0.1)
    assert group(leader) == []


def test_a_server_that_died_is_a_dead_engine(client: Client, served: Served) -> None:
    # The last test: it ends the server.
    load(client, served)
    os.killpg(served.process.pid, 9)
    served.process.wait()
    for _ in range(2):
        with pytest.raises(OperationError, match=r"is dead: .*ServerError: .* does not answer"):
            client.sample(dict(TENSORS))
    with pytest.raises(OperationError, match=r"does not answer: .*; start it with VLLM_SERVER_DEV"):
        load(Client(), served)
